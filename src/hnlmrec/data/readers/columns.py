"""From the columns of a table to typed interactions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.files import missing_column, places
from hnlmrec.data.readers.protocol import INTERACTION_SCHEMA, Clock
from hnlmrec.errors import DataError


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
    frame: pl.DataFrame, names: Mapping[str, str], config: DataConfig, path: Path
) -> tuple[pl.DataFrame, Clock]:
    """Make `INTERACTION_SCHEMA` of a table, and say what its ``timestamp`` means.

    Parameters
    ----------
    frame
        What `read_table` gave for ``path``; blank lines are skipped.
    names
        Field (user, item, rating, timestamp, position) to column. Only user, item and what
        ``data.columns`` names must exist; ``position`` counts where there is no ``timestamp``.

    Raises
    ------
    DataError
        When a column is missing, an id is empty or a number is not one.
    """
    required = {"user", "item", *config.columns}
    columns = {}
    for field, name in names.items():
        if name in frame.columns:
            columns[field] = frame[name]
        elif field in required:
            raise missing_column(name, frame.columns, str(path))

    blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
    empty = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    time = columns.get("timestamp", columns.get("position", empty))
    typed = pl.DataFrame(
        {
            "user_id": _ids(columns["user"], blank, frame, path),
            "item_id": _ids(columns["item"], blank, frame, path),
        }
    ).with_columns(
        rating=_numbers(columns.get("rating", empty), pl.Float64, frame, path),
        timestamp=_numbers(time, pl.Int64, frame, path),
    )
    clock: Clock = "none"
    if typed["timestamp"].count():
        clock = "seconds" if "timestamp" in columns else "position"
    return typed.filter(~blank).cast(INTERACTION_SCHEMA), clock


def _ids(column: pl.Series, blank: pl.Series, frame: pl.DataFrame, path: Path) -> pl.Series:
    ids = column.cast(pl.String)
    bad = (ids.fill_null("") == "") & ~blank
    if bad.any():
        place = places(path, frame)[bad.arg_true()[0]]
        raise DataError(
            f"the {column.name} is empty", where=place, mend="fill it in or remove the line"
        )
    return ids


def _numbers(
    column: pl.Series, dtype: type[pl.Float64 | pl.Int64], frame: pl.DataFrame, path: Path
) -> pl.Series:
    """Parse the column as numbers; null where it is empty."""
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return column.dt.epoch("s")
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        column = text.set(text == "", None)
    numbers = column.cast(pl.Float64, strict=False)
    numbers = numbers.set(~numbers.is_finite(), None).cast(dtype, strict=False)
    bad = numbers.is_null() & column.is_not_null()
    if bad.any():
        row = bad.arg_true()[0]
        raise DataError(
            f"{column[row]!r} is not a number",
            where=f"{places(path, frame)[row]}, column {column.name}",
            mend="correct it, or leave it empty",
        )
    return numbers
