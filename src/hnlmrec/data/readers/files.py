"""Finding files, and reading tables and JSON lines with errors that name file and line."""

from __future__ import annotations

import ast
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import polars as pl

from hnlmrec.errors import DataError
from hnlmrec.paths import stays_inside

Key = Literal["interactions", "items"]


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


def read_table(
    path: Path, *, separator: str | None = None, quote: str | None = '"'
) -> pl.DataFrame:
    """Read a CSV or TSV, plain or gzip, with every column as strings, or a Parquet file as it is.

    Without a ``separator``, a file called ``.tsv`` has tabs and any other commas.
    An empty field or line is null. `places` finds the lines of its rows.
    """
    separator = separator or ("\t" if ".tsv" in path.suffixes else ",")
    with _reading(path):
        if path.suffix == ".parquet":
            return pl.read_parquet(path, glob=False)
        return pl.read_csv(
            path, separator=separator, quote_char=quote, infer_schema=False, glob=False
        )


def places(path: Path, frame: pl.DataFrame) -> pl.Series:
    """Give file and line of each row that `read_table` gave, for error messages."""
    if path.suffix == ".parquet":
        return f"{path}, row " + pl.int_range(1, frame.height + 1, eager=True).cast(pl.String)
    # a quoted field may span lines, which moves the rows below it
    breaks = pl.all().str.count_matches("\n", literal=True).fill_null(0)
    above = frame.select(pl.sum_horizontal(breaks).cum_sum().shift(1, fill_value=0)).to_series()
    lines = above + pl.int_range(2, frame.height + 2, eager=True)
    return f"{path}, line " + lines.cast(pl.String)


def read_json_lines(path: Path, *, loose: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place (file and line) and the object of each line of a plain or gzip file.

    With ``loose``, a line may also be a Python literal, as in the 2014 Amazon metadata.
    """
    with _reading(path), _open_text(path) as file:
        for number, line in _filled_lines(file):
            place = f"{path}, line {number}"
            yield place, _record(line, place, loose)


def pick_json_lines(path: Path, rows: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield of what `read_json_lines` yields the objects of some rows, without parsing the others.

    Parameters
    ----------
    path
        A file that was read whole before.
    rows
        Numbers from 0, ascending, none twice.
    """
    with _reading(path), _open_text(path) as file:
        lines = enumerate(_filled_lines(file))
        for row in rows:
            number, line = next(numbered for at, numbered in lines if at == row)
            yield _record(line, f"{path}, line {number}", loose=False)


def missing_column(name: str, found: list[str], where: str) -> DataError:
    """Say that a column or key is absent, and which ones exist."""
    return DataError(
        f"there is no column {name!r}; found: {', '.join(found)}",
        where=where,
        mend="map it in data.columns, as in `columns: {user: name_in_the_file}`",
    )


def _open_text(path: Path) -> TextIO:
    # utf-8-sig reads UTF-8 with or without a byte order mark
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8-sig"))
    return path.open(encoding="utf-8-sig")


def _filled_lines(file: TextIO) -> Iterator[tuple[int, str]]:
    """Number lines from 1 and skip blank ones."""
    return ((number, line) for number, line in enumerate(file, start=1) if line.strip())


def _record(line: str, place: str, loose: bool) -> dict[str, Any]:
    record = _parse(line, place, loose)
    if not isinstance(record, dict):
        raise DataError(f"expected a JSON object, found {line.strip()[:40]!r}", where=place)
    return record


def _parse(line: str, place: str, loose: bool) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = str(error)
    if loose:
        try:
            return ast.literal_eval(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
    raise DataError(f"this is not JSON ({reason})", where=place, mend="correct or remove this line")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what a damaged file raises into a DataError."""
    try:
        yield
    except pl.exceptions.NoDataError:
        raise DataError("the file is empty", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"this is not UTF-8 text ({error})", where=str(path)) from None
    except (EOFError, zlib.error, OSError, pl.exceptions.PolarsError) as error:
        if path.suffix == ".gz" and not isinstance(error, pl.exceptions.PolarsError):
            what, mend = f"the gzip file is truncated or damaged ({error})", "download it again"
        else:
            reason = str(error).partition("\n")[0]
            what, mend = f"the file cannot be read ({reason})", None
        raise DataError(what, where=str(path), mend=mend) from None
