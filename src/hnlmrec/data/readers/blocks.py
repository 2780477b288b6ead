"""Cutting the text of a table into blocks of whole rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.readers.rejected import RAW_CHARACTERS, Place, Rejected, RowError
from hnlmrec.data.readers.streams import MAX_LINE, explained, open_stream
from hnlmrec.data.stores import DataPath
from hnlmrec.errors import DataError

_READ = 8 << 20
# a header that names more columns is none, and would take gigabytes
_MAX_COLUMNS = 10_000
UNMATCHED = "quotes that do not match"


class Dialect(NamedTuple):
    """What is between the fields of a row, and what may be around one."""

    separator: str
    quote: str | None


@dataclass(frozen=True)
class Block:
    """Whole rows of a file, and the number of the line that the first of them begins in."""

    data: bytes
    number: int

    def line(self, number: int) -> bytes:
        """A line of the file, by its number."""
        at = number - self.number
        start = self._ends[at - 1] + 1 if at else 0
        return self.data[start : self._ends[at] if at < len(self._ends) else None]

    @cached_property
    def _ends(self) -> npt.NDArray[np.int64]:
        return np.flatnonzero(np.frombuffer(self.data, dtype=np.uint8) == ord("\n"))


def read_header(path: DataPath, dialect: Dialect) -> list[str]:
    """The names of the columns, which are the first row that is not blank."""
    header = next(blocks(path, dialect, Rejected(strict=True))).data
    if header.count(dialect.separator.encode()) >= _MAX_COLUMNS:
        raise DataError(f"the header names more than {_MAX_COLUMNS:,} columns", where=str(path))
    with explained(path):
        return read_rows(header, dialect).columns


def read_rows(rows: bytes, dialect: Dialect, names: list[str] | None = None) -> pl.DataFrame:
    """Read rows as strings by polars; without ``names`` the first of them is the header."""
    return pl.read_csv(
        # polars decompresses what begins like gzip, zlib (an id such as x^2) or zstandard
        b"\n" + rows,
        skip_lines=1,
        has_header=names is None,
        separator=dialect.separator,
        quote_char=dialect.quote,
        schema=None if names is None else dict.fromkeys(names, pl.String),
        infer_schema=False,
    )


def blocks(path: DataPath, dialect: Dialect, rejected: Rejected) -> Iterator[Block]:
    """Yield the header of a file as a block of its own, then its rows in blocks.

    A line of more than `MAX_LINE` bytes is left out, and so is the first line of a row that does
    not end within as many, because a quote is not closed. A block ends within a row only where the
    file does.
    """
    quote = dialect.quote.encode() if dialect.quote else None
    data, number, has_header, is_last = b"", 1, False, False
    with open_stream(path) as stream:
        # of an old Macintosh
        returns = b"\n" not in (start := stream.peek(_READ)) and b"\r" in start
        while not is_last:
            piece = stream.read(_READ)
            is_last = len(piece) < _READ
            data += piece.replace(b"\r", b"\n") if returns else piece
            while True:
                end = len(data) if is_last else _end_of_rows(data, quote)
                if len(data) <= MAX_LINE:
                    break
                first = data.find(b"\n", 0, MAX_LINE + 1) + 1
                if first and end:
                    break
                reason = UNMATCHED if first else f"longer than {MAX_LINE >> 20} MiB"
                bad = RowError(reason, Place(path, number), mend="correct or remove this line")
                rejected.saw(path)
                rejected.add(bad, data[:RAW_CHARACTERS].decode("utf-8", "replace"))
                data = data[first:] if first else _after_line(data, stream)
                number += 1
            rows = data[:end].lstrip(b"\r\n")
            number += data.count(b"\n", 0, end - len(rows))
            data = data[end:]
            if rows and not has_header:
                header = rows[: _end_of_row(rows, quote)]
                yield Block(header, number)
                number += header.count(b"\n")
                rows, has_header = rows[len(header) :], True
            if rows:
                yield Block(rows, number)
                number += rows.count(b"\n")
    if not has_header:
        raise DataError("the file is empty", where=str(path))


def _after_line(data: bytes, stream: BinaryIO) -> bytes:
    """What follows the line that ``data`` begins in the middle of, as far as it was read."""
    while data and b"\n" not in data:
        data = stream.read(_READ)
    return data.partition(b"\n")[2]


def _end_of_rows(data: bytes, quote: bytes | None) -> int:
    """Where the last whole row ends: behind a line's end with as many quotes opened as closed."""
    end = data.rfind(b"\n") + 1
    if quote is None:
        return end
    quotes = data.count(quote, 0, end)
    while end and quotes % 2:
        shorter = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(quote, shorter, end)
        end = shorter
    return end


def _end_of_row(data: bytes, quote: bytes | None) -> int:
    """Where the first row ends; that of the first line where its quotes are not closed."""
    first = end = data.find(b"\n") + 1 or len(data)
    quotes = data.count(quote, 0, end) if quote else 0
    while quote and quotes % 2 and end < len(data):
        longer = data.find(b"\n", end) + 1 or len(data)
        quotes += data.count(quote, end, longer)
        end = longer
    return first if quotes % 2 else end
