"""From the columns of a table to typed interactions."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.protocol import INTERACTION_SCHEMA, Clock
from hnlmrec.data.readers.rejected import Rejected, RowError
from hnlmrec.data.readers.tables import Piece, Table
from hnlmrec.errors import DataError

_EMPTY, _NO_NUMBER = "is empty", "is not a number"
_SHOWN = 60  # characters of a value in an error
Number = type[pl.Float64 | pl.Int64]


def column_names(defaults: Mapping[str, str], config: DataConfig) -> dict[str, str]:
    """Map field to column: the reader's ``defaults``, changed by ``data.columns``."""
    unknown = config.columns.keys() - defaults.keys()
    if unknown:
        raise DataError(
            f"there is no field {', '.join(sorted(unknown))}",
            where="data.columns",
            mend=f"the fields are {', '.join(defaults)}",
        )
    return {**defaults, **config.columns}


def typed_interactions(
    table: Table, names: Mapping[str, str], config: DataConfig, rejected: Rejected
) -> tuple[pl.DataFrame, Clock]:
    """Make `INTERACTION_SCHEMA` of a table, and say what its ``timestamp`` means.

    Parameters
    ----------
    table
        What `open_table` gave; blank lines are skipped.
    names
        Field (user, item, rating, timestamp, position) to column. Only user, item and what
        ``data.columns`` names must exist; ``position`` counts where there is no ``timestamp``.
    rejected
        Receives the rows whose id is empty or whose number is not one.

    Raises
    ------
    DataError
        When a column is missing.
    """
    for field in names:
        if field in {"user", "item", *config.columns}:
            table.require(names[field])
    present = {field: name for field, name in names.items() if name in table.columns}
    time = present.get("timestamp", present.get("position"))
    wanted = dict.fromkeys((present["user"], present["item"], present.get("rating"), time))
    pieces = table.pieces([name for name in wanted if name is not None])
    typed = [_typed(piece, present, time, rejected) for piece in pieces]
    frame = pl.concat([INTERACTION_SCHEMA.to_frame(), *typed])
    clock: Clock = "none"
    if frame["timestamp"].count():
        clock = "seconds" if "timestamp" in present else "position"
    return frame, clock


def _typed(
    piece: Piece, names: Mapping[str, str], time: str | None, rejected: Rejected
) -> pl.DataFrame:
    """The usable rows of a piece, with ids as categories: a number each in memory."""
    good = ~piece.frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    columns = {}
    for field, name in (("user_id", names["user"]), ("item_id", names["item"])):
        columns[field] = _cast(piece, name, pl.String)
        empty = columns[field].fill_null("") == ""
        good = _reject(piece, good, empty, name, _EMPTY, rejected)
    numbers: tuple[tuple[str, str | None, Number], ...]
    numbers = (("rating", names.get("rating"), pl.Float64), ("timestamp", time, pl.Int64))
    for field, optional, dtype in numbers:
        if optional is None:
            columns[field] = pl.repeat(None, piece.frame.height, dtype=dtype, eager=True)
            continue
        columns[field], wrong = _numbers(piece, optional, dtype)
        good = _reject(piece, good, wrong, optional, _NO_NUMBER, rejected)
    return pl.DataFrame(columns).filter(good).cast(INTERACTION_SCHEMA)


def _numbers(piece: Piece, name: str, dtype: Number) -> tuple[pl.Series, pl.Series]:
    """Parse a column as numbers, null where it is empty, and say where it holds something else."""
    column = piece.frame[name]
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return column.dt.epoch("s"), pl.repeat(False, len(column), eager=True)
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        column = text.set(text == "", None)
    numbers = _cast(piece, name, pl.Float64, column)
    numbers = numbers.set(~numbers.is_finite(), None).cast(dtype, strict=False)
    return numbers, numbers.is_null() & column.is_not_null()


def _cast(
    piece: Piece, name: str, dtype: type[pl.DataType], column: pl.Series | None = None
) -> pl.Series:
    column = piece.frame[name] if column is None else column
    try:
        return column.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        raise DataError(
            f"the column {name} holds {column.dtype}, which no {dtype()} is made of",
            where=str(piece.path),
            mend="map another column in data.columns, or write this one otherwise",
        ) from None


def _reject(
    piece: Piece, good: pl.Series, wrong: pl.Series, name: str, flaw: str, rejected: Rejected
) -> pl.Series:
    """Leave out the good rows that are wrong, and say which remain."""
    wrong = wrong & good
    rows = wrong.arg_true()

    def describe(number: int) -> tuple[RowError, str]:
        row, reason = rows[number], f"{name} {flaw}"
        value = repr(piece.frame[name][row])[:_SHOWN]
        mend = "correct it, or remove the line"
        bad = RowError(reason, piece.place(row), what=f"{value} {flaw}", column=name, mend=mend)
        if flaw == _EMPTY:
            mend = "fill it in, or remove the line"
            bad = RowError(reason, piece.place(row), what=f"the {reason}", mend=mend)
        return bad, piece.raw(row)

    rejected.add_all(piece.path, f"{name} {flaw}", len(rows), describe)
    return good & ~wrong
