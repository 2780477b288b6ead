"""Which interactions are kept: ratings, dates, the first of repeated pairs, the k-core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
_BLOCK = 1 << 22


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
    def of(cls, name: str, left: pl.DataFrame, before: Step | None = None) -> Step:
        """Count what a step ``left`` of what there was ``before`` it."""
        interactions = left.height
        users, items = (left[column].n_unique() for column in ("user_id", "item_id"))
        return cls(
            name=name,
            dropped_interactions=before.interactions - interactions if before else 0,
            dropped_users=before.users - users if before else 0,
            dropped_items=before.items - items if before else 0,
            interactions=interactions,
            users=users,
            items=items,
        )


def filter_interactions(
    raw: RawData, config: DataConfig
) -> tuple[pl.DataFrame, list[Step], list[str]]:
    """Apply the filters of the configuration, in the order of this module's first line.

    The interactions of ``raw`` are used up: of 100 million there is no room for two copies.

    Returns
    -------
    interactions
        The rows kept, in file order, without ratings; every pair of user and item once. Where
        ``raw`` has reviews, ``row`` numbers the rows from 0 as they were there.
    steps
        ``read`` and one record a filter.
    notes
        What was skipped and why.

    Raises
    ------
    DataError
        When nothing is left, or a date window meets data without times.
    """
    frame, raw.interactions = raw.interactions, raw.interactions.clear()
    if frame.is_empty():
        raise DataError("the file holds no interaction", where=config.path)
    if raw.reviews is not None:
        frame = frame.with_row_index("row")
    steps, notes = [Step.of("read", frame)], []
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
        frame = kept
        steps.append(Step.of(name, frame, steps[-1]))
    return frame, steps, notes


def _filters(
    frame: pl.DataFrame, clock: Clock, config: DataConfig
) -> list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]]:
    """Name each filter that the configuration asks for and the data allow, in order."""
    least, since, until, core = config.min_rating, config.since, config.until, config.core
    filters: list[tuple[str, Callable[[pl.DataFrame], pl.DataFrame]]] = []
    if least is not None and frame["rating"].count():
        rated = pl.col("rating") >= least
        filters.append((f"rating >= {least:g}", lambda rows: rows.filter(rated).drop("rating")))
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
    repeated = _repeated(frame)
    # only those are sorted: of millions of rows few repeat a pair
    first = (
        frame.select("user_id", "item_id", "timestamp")
        .with_row_index("order")
        .filter(repeated)
        .sort("timestamp", "order", nulls_last=True)
        .unique(["user_id", "item_id"], keep="first", maintain_order=True)
    )
    keep = ~repeated
    keep[first["order"].to_numpy()] = True
    return frame.filter(keep)


def _repeated(frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether another row has the same pair."""
    users, items = (index_ids(frame[column])[1] for column in ("user_id", "item_id"))
    pairs = users.astype(np.int64)
    pairs <<= 32
    pairs |= items
    # a copy that is sorted takes a fifth of the memory of a table of hashes
    ordered = np.sort(pairs)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    repeated = np.zeros(len(pairs), dtype=np.bool_)
    for block in blocks(len(pairs)) if len(twice) else ():
        at = np.searchsorted(twice, pairs[block])
        repeated[block] = twice[np.minimum(at, len(twice) - 1)] == pairs[block]
    return repeated


def blocks(n: int) -> Iterator[slice]:
    """Parts of ``n`` rows, so that what is computed on the way takes no memory to speak of."""
    return (slice(start, start + _BLOCK) for start in range(0, n, _BLOCK))


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
    before, now = -1, len(users)
    while now != before:
        for ids in (users, items):
            _keep_frequent(ids, k, keep)
        before, now = now, int(keep.sum())
    return keep


def _keep_frequent(ids: IntArray, k: int, keep: npt.NDArray[np.bool_]) -> None:
    """Keep no pair whose user (or item) has fewer than k that are kept."""
    counts = np.zeros(ids.max(initial=-1) + 1, dtype=np.int64)
    for block in blocks(len(ids)):
        counts += np.bincount(ids[block][keep[block]], minlength=len(counts))
    enough = counts >= k
    for block in blocks(len(ids)):
        keep[block] &= enough[ids[block]]


def _keep_core(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    users, items = (index_ids(frame[column])[1] for column in ("user_id", "item_id"))
    return frame.filter(k_core(users, items, k))
