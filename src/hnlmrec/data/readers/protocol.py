"""What every reader takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import polars as pl

from hnlmrec.config import DataConfig

Clock = Literal["seconds", "position", "none"]
# texts of reviews, plain, of rows of the interactions: distinct and ascending
ReviewTexts = Callable[[pl.Series], pl.Series]

INTERACTION_SCHEMA = pl.Schema(
    {
        "user_id": pl.String,
        "item_id": pl.String,
        "rating": pl.Float64,
        "timestamp": pl.Int64,
    }
)


@dataclass(frozen=True, kw_only=True)
class RawData:
    """What a dataset's files hold, before anything is filtered.

    Parameters
    ----------
    interactions
        One row an event, in file order, with the columns of `INTERACTION_SCHEMA`; ``rating`` and
        ``timestamp`` are null where the files have none.
    items
        Columns ``item_id``, ``title``, ``brand``, ``categories``, ``description``: one row an
        item, plain text, ``""`` where there is none.
    clock
        What ``timestamp`` means: seconds since 1970 (UTC), a position in the user's history, or
        nothing (all null).
    reviews
        Gives the plain texts of the reviews of some interactions, by row; None when the files have
        none. They are read when they are asked for: most rows, and most bytes, are filtered away.
    notes
        What the user should know of the reading, as sentences without a full stop.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    clock: Clock
    reviews: ReviewTexts | None = None
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
