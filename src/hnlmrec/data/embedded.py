"""Where the data are: a folder, or a dataset that an installed package carries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from hnlmrec.data.stores import DataPath, open_store
from hnlmrec.errors import DataError

_PREFIX = "embedded:"
# name: package, folder in it, how to get the package
_EMBEDDED = {"ml-100k": ("recbole", "dataset_example/ml-100k", "pip install --no-deps recbole")}


def locate(path: str) -> DataPath:
    """Find the folder that ``data.path`` means.

    Parameters
    ----------
    path
        A folder, an address such as ``s3://bucket/prefix``, or ``embedded:ml-100k``: MovieLens-100k
        from the recbole wheel, of which nothing is imported.

    Raises
    ------
    DataError
        When there is no such folder, address, dataset or package.
    """
    if path.startswith(_PREFIX):
        return _locate_embedded(path)
    if "://" in path:
        return open_store(path)
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise DataError("there is no such folder", where=path, mend="change data.path")
    return folder


def _locate_embedded(path: str) -> Path:
    name = path.removeprefix(_PREFIX)
    if name not in _EMBEDDED:
        known = ", ".join(_PREFIX + known for known in _EMBEDDED)
        raise DataError(
            f"there is no embedded dataset {name!r}", where="data.path", mend=f"use {known}"
        )
    package, inside, install = _EMBEDDED[name]
    spec = find_spec(package)
    for root in (spec.submodule_search_locations if spec else None) or ():
        if (folder := Path(root) / inside).is_dir():
            return folder
    raise DataError(
        f"the dataset comes with the package {package}, which is not installed",
        where=path,
        mend=f"`{install}`, or name other data with data.reader and data.path",
    )
