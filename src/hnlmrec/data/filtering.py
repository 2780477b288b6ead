"""Which interactions are kept: ratings, dates, the first of repeated pairs, the k-core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.interactions import IntArray
from hnlmrec.data.readers import Clock, RawData
from hnlmrec.errors import DataError

_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step of the preparation dropped, and what it left."""

    name: str
    dropped_interactions: int
    dropped_users: int
    dropped_items: int
    interactions: int
    users: int
    items: int

    @classmethod
    def between(cls, name: str, before: pl.DataFrame, after: pl.DataFrame) -> Step:
        """Compare the interactions before and after a step."""
        users, items = (after[column].n_unique() for column in ("user_id", "item_id"))
        return cls(
            name=name,
            dropped_interactions=before.height - after.height,
            dropped_users=before["user_id"].n_unique() - users,
            dropped_items=before["item_id"].n_unique() - items,
            interactions=after.height,
            users=users,
            items=items,
        )


def filter_interactions(
    raw: RawData, config: DataConfig
) -> tuple[pl.DataFrame, list[Step], list[str]]:
    """Apply the filters of the configuration, in the order of this module's first line.

    Returns
    -------
    interactions
        The rows kept, in file order; every pair of user and item once. ``row`` numbers them from 0
        as they were in ``raw``.
    steps
        ``read`` and one record a filter.
    notes
        What was skipped and why.

    Raises
    ------
    DataError
        When nothing is left, or a date window meets data without times.
    """
    frame = raw.interactions.with_row_index("row")
    if frame.is_empty():
        raise DataError("the file holds no interaction", where=config.path)
    steps, notes = [Step.between("read", frame, frame)], []
    if config.min_rating is not None and frame["rating"].count() == 0:
        notes.append("the data have no ratings, so data.min_rating was not applied")
    for name, keep in _filters(frame, raw.clock, config):
        kept = keep(frame)
        if kept.is_empty():
            raise DataError(
                f"none of {frame.height:,} interactions passes the filter {name!r}",
                where=config.path,
                mend=f"lower data.core (now {config.core}) or data.min_rating (now "
                f"{config.min_rating}), or widen data.since and data.until (UTC)",
            )
        steps.append(Step.between(name, frame, kept))
        frame = kept
    return frame, steps, notes


def _filters(
    frame: pl.DataFrame, clock: Clock, config: DataConfig
) -> list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]]:
    """Name each filter that the configuration asks for and the data allow, in order."""
    least, since, until, core = config.min_rating, config.since, config.until, config.core
    filters: list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]] = []
    if least is not None and frame["rating"].count():
        rated = pl.col("rating") >= least
        filters.append((f"rating >= {least:g}", lambda rows: rows.filter(rated)))
    if since or until:
        if clock != "seconds":
            raise DataError(
                "data.since and data.until need timestamps, and the data have none",
                where=config.path,
                mend="set both to null, or map the column in data.columns.timestamp",
            )
        dates = f"dates {since or 'any'} to {until or 'any'}"
        # a comparison with a missing time is null, which drops the row
        first, past = _midnight(since or date.min), _midnight(until or date.max) + _DAY
        window = pl.col("timestamp").is_between(first, past, closed="left")
        filters.append((dates, lambda rows: rows.filter(window)))
    filters.append(("repeated pairs", drop_repeats))
    if core > 1:
        filters.append((f"{core}-core", lambda rows: _keep_core(rows, core)))
    return filters


def _midnight(day: date) -> int:
    """Seconds from 1970 to the start of a day in UTC."""
    return int(datetime.combine(day, time(), UTC).timestamp())


def drop_repeats(frame: pl.DataFrame) -> pl.DataFrame:
    """Keep the earliest row of each pair of user and item; ties go by the order of rows."""
    users, items = (index_ids(frame[column])[1] for column in ("user_id", "item_id"))
    pairs = pl.Series(users.astype(np.int64) << 32 | items)
    repeated = pairs.is_duplicated()
    # only those are sorted: of millions of rows few repeat a pair
    first = (
        frame.select("timestamp", pair=pairs)
        .with_row_index("order")
        .filter(repeated)
        .sort("timestamp", "order", nulls_last=True)
        .unique("pair", keep="first", maintain_order=True)
    )
    keep = (~repeated).to_numpy(writable=True)
    keep[first["order"].to_numpy()] = True
    return frame.filter(keep)


def index_ids(ids: pl.Series) -> tuple[pl.Series, IntArray]:
    """Give ids numbers from 0 in the order of their first appearance.

    Parameters
    ----------
    ids
        At least one id, none null: strings or, which is quicker, categories.

    Returns
    -------
    unique
        The distinct ids, as categories.
    codes
        int32 ``[len(ids)]``: ``unique[codes] == ids``.
    """
    ids = ids.cast(pl.Categorical())
    unique = ids.unique(maintain_order=True)
    categories = ids.to_physical().to_numpy()
    numbers = np.empty(int(categories.max()) + 1, dtype=np.int32)
    numbers[unique.to_physical().to_numpy()] = np.arange(len(unique), dtype=np.int32)
    return unique, numbers[categories]


def k_core(users: IntArray, items: IntArray, k: int) -> npt.NDArray[np.bool_]:
    """Find the largest set of pairs in which every user and every item has at least k.

    Parameters
    ----------
    users, items
        int32 ``[n_pairs]``, numbered from 0; no pair twice.
    k
        The least number of pairs of a user, and of an item.

    Returns
    -------
    keep
        bool ``[n_pairs]``.
    """
    keep = np.ones(len(users), dtype=np.bool_)
    while True:
        enough = np.bincount(users, keep)[users] >= k
        enough &= np.bincount(items, keep)[items] >= k
        enough &= keep
        if (enough == keep).all():
            return keep
        keep = enough


def _keep_core(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    users, items = (index_ids(frame[column])[1] for column in ("user_id", "item_id"))
    return frame.filter(k_core(users, items, k))
