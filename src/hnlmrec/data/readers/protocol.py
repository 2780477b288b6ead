"""What every reader takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from hnlmrec.config import DataConfig

Clock = Literal["seconds", "position", "none"]

INTERACTION_SCHEMA = pl.Schema(
    {
        "user_id": pl.String,
        "item_id": pl.String,
        "rating": pl.Float64,
        "timestamp": pl.Int64,
        "review": pl.String,
    }
)


@dataclass(frozen=True, kw_only=True)
class RawData:
    """What a dataset's files hold, before anything is filtered.

    Parameters
    ----------
    interactions
        One row an event, in file order, with the columns of `INTERACTION_SCHEMA`; ``rating``,
        ``timestamp`` and ``review`` are null where the files have none.
    items
        Columns ``item_id``, ``title``, ``brand``, ``categories``, ``description``: one row an
        item, plain text, ``""`` where there is none.
    clock
        What ``timestamp`` means: seconds since 1970 (UTC), a position in the user's history, or
        nothing (all null).
    notes
        What the user should know of the reading, as sentences without a full stop.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    clock: Clock
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """Reads one format of files.

    Raises
    ------
    DataError
        When a file is missing, damaged or not of this format.
    """

    def __call__(self, config: DataConfig, folder: Path) -> RawData:
        """Read the files in ``folder`` that ``config`` names or that are found by their names."""
        ...
