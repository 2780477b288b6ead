"""Reading tables piece by piece: CSV and TSV, plain or gzip, and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import polars as pl

from hnlmrec.data.readers.blocks import Block, Dialect, blocks, read_header, read_rows
from hnlmrec.data.readers.files import missing_column
from hnlmrec.data.readers.parquet import parquet_columns, parquet_frames
from hnlmrec.data.readers.rejected import Place, Rejected
from hnlmrec.data.readers.rows import row_by_row
from hnlmrec.errors import DataError


@dataclass(frozen=True)
class Piece:
    """Some rows of a table, in file order.

    Parameters
    ----------
    frame
        Strings, or what the Parquet file has. A blank line is a row of nulls.
    path
        The file.
    number
        Number of the first row or line in the file.
    block
        The text that the rows were read from; None of a Parquet file.
    numbers
        Number of the line of each row, where they do not follow from the first.
    """

    frame: pl.DataFrame
    path: Path
    number: int
    block: Block | None = None
    numbers: Sequence[int] | None = None

    def place(self, row: int) -> Place:
        """Where a row of the frame stands in the file."""
        return Place(self.path, self._numbers[row], "line" if self.block else "row")

    def raw(self, row: int) -> str:
        """What stands there."""
        if self.block is None:
            return str(self.frame.row(row, named=True))
        return self.block.line(self._numbers[row]).decode("utf-8", "replace")

    @cached_property
    def _numbers(self) -> Sequence[int] | pl.Series:
        if self.numbers is not None:
            return self.numbers
        numbers = pl.int_range(self.number, self.number + self.frame.height, eager=True)
        if self.block is not None:
            # a quoted field may span lines, which moves the rows below it
            breaks = pl.all().str.count_matches("\n", literal=True).fill_null(0)
            above = self.frame.select(pl.sum_horizontal(breaks).cum_sum().shift(1, fill_value=0))
            numbers += above.to_series()
        return numbers


class Table(NamedTuple):
    """A file whose header was read.

    Parameters
    ----------
    path
        The file.
    columns
        The names of its columns.
    pieces
        Yields its rows; of a Parquet file only some columns, when they are named. What the caller
        leaves out of them belongs to the `Rejected` that `open_table` got: at the end of the file
        the share of what was left out is checked.
    """

    path: Path
    columns: list[str]
    pieces: Callable[[list[str] | None], Iterator[Piece]]

    def require(self, name: str) -> None:
        """Raise a DataError when there is no such column."""
        if name not in self.columns:
            raise missing_column(name, self.columns, str(self.path))


def open_table(
    path: Path,
    rejected: Rejected,
    *,
    separator: str | None = None,
    quote: str | None = '"',
    rename: Callable[[str], str] = str,
) -> Table:
    """Read the header of a CSV or TSV, plain or gzip, or of a Parquet file.

    Without a ``separator``, a file called ``.tsv`` has tabs and any other commas. ``rename`` gives
    the columns of a text file other names.
    """
    if path.suffix == ".parquet":
        names = parquet_columns(path)
        return Table(path, names, lambda wanted: _parquet_pieces(path, wanted, rejected))
    dialect = Dialect(separator or ("\t" if ".tsv" in path.suffixes else ","), quote)
    names = [rename(name) for name in read_header(path, dialect)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns are called {twice!r}", where=str(path), mend="rename one")
    return Table(path, names, lambda _: _text_pieces(path, names, dialect, rejected))


def _text_pieces(
    path: Path, names: list[str], dialect: Dialect, rejected: Rejected
) -> Iterator[Piece]:
    parts = blocks(path, dialect, rejected)
    next(parts)  # the header
    for block in parts:
        try:
            frame, numbers = read_rows(block.data, dialect, names), None
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            frame, numbers = row_by_row(block, path, names, dialect, rejected)
        rejected.saw(path, frame.height)
        yield Piece(frame, path, block.number, block, numbers)
    rejected.check(path)


def _parquet_pieces(path: Path, names: list[str] | None, rejected: Rejected) -> Iterator[Piece]:
    for number, frame in parquet_frames(path, names):
        rejected.saw(path, frame.height)
        yield Piece(frame, path, number)
    rejected.check(path)
