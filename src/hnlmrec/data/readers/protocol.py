"""What every reader takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.rejected import Rejected
from hnlmrec.data.stores import DataPath

Clock = Literal["seconds", "position", "none"]
# texts of reviews, plain, of rows of the interactions: distinct and ascending
ReviewTexts = Callable[[pl.Series], pl.Series]

INTERACTION_SCHEMA = pl.Schema(
    {
        # a number each; memory holds every id once
        "user_id": pl.Categorical(),
        "item_id": pl.Categorical(),
        "rating": pl.Float64(),
        "timestamp": pl.Int64(),
    }
)


@dataclass(kw_only=True)
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
    rejected
        The rows that cannot be used.
    notes
        What the user should know of the reading, as sentences without a full stop.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    clock: Clock
    rejected: Rejected = field(default_factory=Rejected)
    reviews: ReviewTexts | None = None
    notes: tuple[str, ...] = ()


class Reader(Protocol):
    """Reads one format of files.

    Raises
    ------
    DataError
        When a file is missing, damaged or not of this format, when more than a share of its rows
        cannot be used, or, with ``config.strict``, when any cannot.
    """

    def __call__(self, config: DataConfig, folder: DataPath) -> RawData:
        """Read the files in ``folder`` that ``config`` names or that are found by their names."""
        ...
