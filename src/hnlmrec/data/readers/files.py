"""Finding the files of a dataset."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from hnlmrec.config import DataConfig
from hnlmrec.data.stores import DataPath, StorePath, name_below
from hnlmrec.errors import DataError
from hnlmrec.paths import stays_inside

Key = Literal["interactions", "items"]

# what a table may end with, and a file of texts
TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
TEXTS = (".jsonl", ".jsonl.gz", *TABLES)
# what Spark and others leave among the parts
_HIDDEN = re.compile(r"(^|/)[._]")
_SHOWN_COLUMNS, _SHOWN_CHARACTERS = 20, 40


def find_file(folder: DataPath, given: str | None, patterns: tuple[str, ...], key: Key) -> DataPath:
    """Find the file named ``given``, or the only one in ``folder`` that fits one of ``patterns``.

    Raises
    ------
    DataError
        When there is no such file, or several.
    """
    path = find_optional_file(folder, given, patterns, key)
    if path is None:
        raise _no_file(folder, patterns, key)
    return path


def find_optional_file(
    folder: DataPath, given: str | None, patterns: tuple[str, ...], key: Key
) -> DataPath | None:
    """Do as `find_file`, but give None when ``given`` is None and no file fits."""
    if given is not None:
        path = named(folder, given, key)
        if not path.is_file():
            raise DataError("there is no such file", where=str(path), mend=f"change data.{key}")
        return path
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)}, key=str)
    if len(found) > 1:
        raise DataError(
            f"several files fit: {', '.join(path.name for path in found)}",
            where=str(folder),
            mend=f"name one of them in data.{key}",
        )
    return found[0] if found else None


def find_parts(
    folder: DataPath, given: str | None, endings: tuple[str, ...], key: Key
) -> list[DataPath]:
    """Find a file, or the parts of a table: a folder of files, or those that fit a pattern.

    Without ``given`` that is the file called ``key`` with one of the endings, else the folder
    called ``key``; an empty list where there is neither.

    Returns
    -------
    parts
        In the order of their names.

    Raises
    ------
    DataError
        When ``given`` names nothing, or parts are of several formats.
    """
    if given is None:
        file = find_optional_file(folder, None, tuple(key + ending for ending in endings), key)
        parts = [file] if file else list(_parts(folder, key, endings).values())
    else:
        path = named(folder, given, key)
        parts = [path] if path.is_file() else list(_parts(folder, given, endings).values())
        if not parts:
            raise DataError(
                f"there is no such file, nor a part that ends with {' or '.join(endings)}",
                where=str(path),
                mend=f"change data.{key}",
            )
    for part in parts:
        if _format(part) != _format(first := parts[0]):
            raise DataError(
                f"parts are of several formats, as {first.name} and {part.name}",
                where=str(folder / (given or key)),
                mend=f"name those of one format in data.{key}, as in {key}/*{_format(first)}",
            )
    return parts


def _format(path: DataPath) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def require_parts(
    parts: list[DataPath], folder: DataPath, endings: tuple[str, ...], key: Key
) -> None:
    """Raise a DataError when there are none."""
    if not parts:
        raise _no_file(folder, (*(key + ending for ending in endings), f"{key}/"), key)


def named(folder: DataPath, given: str, key: Key) -> DataPath:
    """What is called ``given`` in a folder; a DataError where that leads out of it."""
    if not _is_inside(folder, given):
        # and it would not be noticed when it changes
        raise DataError(
            f"{given!r} lies outside of data.path",
            where=f"data.{key}",
            mend="set data.path to a folder that holds all files, or put a link there",
        )
    return folder / given


def source_files(folder: DataPath, config: DataConfig) -> dict[str, DataPath]:
    """The files of a folder, and those of the parts below, by their path from there."""
    found = folder.files(deep=False) if isinstance(folder, StorePath) else folder.iterdir()
    files = {path.name: path for path in found if _is_file(path)}
    key: Key
    for key in ("interactions", "items"):
        given: str | None = getattr(config, key)
        if given is not None and _is_inside(folder, given):
            files |= below(folder, given)
        taken = any(name.startswith(f"{key}.") for name in files)
        if given is None and config.reader == "table" and not taken:
            files |= _parts(folder, key, TEXTS)
    return dict(sorted(files.items()))


def _parts(folder: DataPath, given: str, endings: tuple[str, ...]) -> dict[str, DataPath]:
    """The files that ``given`` names and that a reader knows, in the order of their paths."""
    found = sorted(below(folder, given).items())
    return {
        name: path for name, path in found if name.endswith(endings) and not _HIDDEN.search(name)
    }


def below(folder: DataPath, given: str) -> dict[str, DataPath]:
    """The files that ``given`` names, by their path from ``folder``.

    It is a file, a folder, of which all files at any depth count, or a pattern. Links to files are
    followed, those to folders only where they are named.
    """
    found: Iterable[DataPath]
    if isinstance(folder, StorePath):
        found = (folder / given).files(deep=True) or folder.glob(given)
    elif (place := folder / given).is_dir():
        found = place.rglob("*")
    elif place.is_file() or Path(given).is_absolute():
        found = [place]
    else:
        found = folder.glob(given)
    return {name_below(folder, path): path for path in found if _is_file(path)}


def _is_file(path: DataPath) -> bool:
    # of a store only objects are listed, and each question is a request
    return isinstance(path, StorePath) or path.is_file()


def _is_inside(folder: DataPath, given: str) -> bool:
    root = Path("/", folder.path) if isinstance(folder, StorePath) else folder
    return stays_inside(root, given)


def _no_file(folder: DataPath, patterns: tuple[str, ...], key: Key) -> DataError:
    return DataError(
        f"there is no file {' or '.join(patterns)}",
        where=str(folder),
        mend=f"name the file in data.{key}, or choose another data.reader or data.path",
    )


def missing_column(name: str, found: Sequence[str], where: str) -> DataError:
    """Say that a column is absent, and which ones exist."""
    return DataError(
        f"there is no column {name!r}; found: {shown_columns(found)}",
        where=where,
        mend=MAP_COLUMN,
    )


MAP_COLUMN = "map it in data.columns, as in `columns: {user: name_in_the_file}`"


def shown_columns(names: Sequence[str]) -> str:
    """The first few names, cut to what a message can hold."""
    shown = [name[:_SHOWN_CHARACTERS] for name in names[:_SHOWN_COLUMNS]]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more
