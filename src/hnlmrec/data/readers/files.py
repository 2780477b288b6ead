"""Finding the files of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hnlmrec.errors import DataError
from hnlmrec.paths import stays_inside

Key = Literal["interactions", "items"]

_SHOWN_COLUMNS, _SHOWN_CHARACTERS = 20, 40


def find_file(folder: Path, given: str | None, patterns: tuple[str, ...], key: Key) -> Path:
    """Find the file named ``given``, or the only one in ``folder`` that fits one of ``patterns``.

    Raises
    ------
    DataError
        When there is no such file, or several.
    """
    path = find_optional_file(folder, given, patterns, key)
    if path is None:
        raise DataError(
            f"there is no file {' or '.join(patterns)}",
            where=str(folder),
            mend=f"name the file in data.{key}, or choose another data.reader or data.path",
        )
    return path


def find_optional_file(
    folder: Path, given: str | None, patterns: tuple[str, ...], key: Key
) -> Path | None:
    """Do as `find_file`, but give None when ``given`` is None and no file fits."""
    if given is not None:
        if not stays_inside(folder, given):
            # and it would not be noticed when it changes
            raise DataError(
                f"{given!r} lies outside of data.path",
                where=f"data.{key}",
                mend="set data.path to a folder that holds all files, or put a link there",
            )
        if not (folder / given).is_file():
            raise DataError(
                "there is no such file", where=str(folder / given), mend=f"change data.{key}"
            )
        return folder / given
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if len(found) > 1:
        raise DataError(
            f"several files fit: {', '.join(path.name for path in found)}",
            where=str(folder),
            mend=f"name one of them in data.{key}",
        )
    return found[0] if found else None


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
