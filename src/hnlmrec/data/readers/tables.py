"""Reading tables piece by piece: CSV and TSV, plain or gzip, and Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import polars as pl

from hnlmrec.data.readers.blocks import Block, Dialect, blocks, read_header, read_rows
from hnlmrec.data.readers.files import missing_column
from hnlmrec.data.readers.parquet import parquet_frames, parquet_schema, try_parquet
from hnlmrec.data.readers.rejected import Place, Rejected
from hnlmrec.data.readers.rows import row_by_row
from hnlmrec.data.stores import DataPath
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
    path: DataPath
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
    """A file whose header was read, or several whose rows follow each other.

    Parameters
    ----------
    path
        The file, or the first.
    types
        The columns, each with the type that a Parquet file gives it; of text files strings.
    pieces
        Yields its rows; of a Parquet file only some columns, when they are named. What the caller
        leaves out of them belongs to the `Rejected` that `open_table` got: at the end of a file
        the share of what was left out is checked.
    """

    path: DataPath
    types: Mapping[str, pl.DataType]
    pieces: Callable[[list[str] | None], Iterator[Piece]]

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.types)

    def require(self, name: str) -> None:
        """Raise a DataError when there is no such column."""
        if name not in self.types:
            raise missing_column(name, self.columns, str(self.path))


def open_table(
    path: DataPath,
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
        return open_parts([path], rejected)
    dialect = Dialect(separator or ("\t" if ".tsv" in path.suffixes else ","), quote)
    names = [rename(name) for name in read_header(path, dialect)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"two columns are called {twice!r}", where=str(path), mend="rename one")
    types = dict.fromkeys(names, pl.String())
    return Table(path, types, lambda _: _text_pieces(path, names, dialect, rejected))


def open_parts(paths: Sequence[DataPath], rejected: Rejected) -> Table:
    """Read the headers of files of one format, and give them as one table, in this order.

    Raises
    ------
    DataError
        When two have other columns or types.
    """
    first = paths[0]
    if first.suffix == ".parquet":
        types = parquet_schema(first)
        for path in paths[1:]:
            _check_alike(first, types, path, parquet_schema(path))
        return Table(first, types, lambda wanted: _parquet_pieces(paths, wanted, rejected))
    tables = [open_table(path, rejected) for path in paths]
    for table in tables[1:]:
        _check_alike(first, tables[0].types, table.path, table.types)
    return Table(
        first,
        tables[0].types,
        lambda wanted: chain.from_iterable(table.pieces(wanted) for table in tables),
    )


def _check_alike(
    first: DataPath,
    types: Mapping[str, pl.DataType],
    other: DataPath,
    others: Mapping[str, pl.DataType],
) -> None:
    differing = [name for name in {**types, **others} if types.get(name) != others.get(name)]
    if differing:
        name = differing[0]
        there, here = (f"{found[name]}" if name in found else "none" for found in (types, others))
        raise DataError(
            f"the column {name!r} is {here} here and {there} in {first}",
            where=str(other),
            mend="write all parts with the same columns and types",
        )


def _text_pieces(
    path: DataPath, names: list[str], dialect: Dialect, rejected: Rejected
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


def _parquet_pieces(
    paths: Sequence[DataPath], names: list[str] | None, rejected: Rejected
) -> Iterator[Piece]:
    try_parquet(paths, names)
    for path in paths:
        for number, frame in parquet_frames(path, names):
            rejected.saw(path, frame.height)
            yield Piece(frame, path, number)
        rejected.check(path)
