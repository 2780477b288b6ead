"""Import optional packages, or say how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from hnlmrec.errors import ModelError

# how transformers reads a model's folder: no code of the folder's is run (by default it asks at a
# terminal whether to), and what is missing is not fetched
DATA_ONLY: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}


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
