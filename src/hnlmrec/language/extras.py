"""Import the optional packages of the language stages, or say how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType

from hnlmrec.errors import ModelError


def require(package: str, extra: str = "llm") -> ModuleType:
    """Import a package of an extra.

    Raises
    ------
    ModelError
        When the package is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"the language stages need the package {error.name}, which is not installed",
            mend=f'`pip install "hnlmrec[{extra}]"`',
        ) from None
