"""Import optional packages, or say how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType

from hnlmrec.errors import ModelError


def require(package: str, extra: str = "llm", purpose: str = "the language stages") -> ModuleType:
    """Import a package of an extra.

    Parameters
    ----------
    package
        Its name.
    extra
        The extra of hnlmrec that brings it.
    purpose
        What it is for, in the error.

    Raises
    ------
    ModelError
        When the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the package {error.name}, which is for {purpose}, is not installed",
            mend=f'`pip install "hnlmrec[{extra}]"`',
        ) from None
