"""Dividing interactions into training, validation and test."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.config import SplitConfig
from hnlmrec.data.filtering import blocks, index_ids
from hnlmrec.data.interactions import IntArray
from hnlmrec.data.readers import Clock
from hnlmrec.errors import DataError

TRAIN, VALID, TEST = 0, 1, 2
DROPPED = -1

Codes = npt.NDArray[np.int8]
Times = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]


def split(frame: pl.DataFrame, clock: Clock, config: SplitConfig) -> Codes:
    """Assign each interaction to a part.

    Parameters
    ----------
    frame
        Columns ``user_id`` and ``timestamp``; a row a pair.
    clock
        What ``timestamp`` means, see `RawData`.
    config
        The method, its shares and its seed.

    Returns
    -------
    codes
        int8 ``[frame.height]``: 0 (train), 1 (valid), 2 (test), or -1 for an interaction of a user
        who has none in training (only by time). Items may have none in training.

    Raises
    ------
    DataError
        When the method needs times that the data do not have.
    """
    _, users = index_ids(frame["user_id"])
    if config.method == "ratio":
        return by_ratio(users, config)
    if config.method == "leave_one_out":
        return leave_one_out(users, _times(frame, clock, config))
    return by_time(users, _times(frame, clock, config), config)


def by_ratio(users: IntArray, config: SplitConfig) -> Codes:
    """Draw random shares of each user's interactions.

    Shares are rounded half up. A user of two or more has at least one in test, of three or more at
    least one in validation too, and always one or more in training.
    """
    counts = np.bincount(users)
    n_test, n_valid = _held_out(counts, config)
    rank = _rank_within(users, np.random.default_rng(config.seed).random(len(users)))
    return _codes(rank < n_test[users], rank < (n_test + n_valid)[users])


def leave_one_out(users: IntArray, times: Times) -> Codes:
    """Put each user's last interaction into test and the last but one into validation.

    Of two interactions the last is test, a single one is training. Ties go by the order of rows.
    """
    counts = np.bincount(users)[users]
    from_end = counts - 1 - _rank_within(users, times)
    return _codes((from_end == 0) & (counts >= 2), (from_end <= 1) & (counts >= 3))


def by_time(users: IntArray, times: Times, config: SplitConfig) -> Codes:
    """Put the newest interactions of all users into test and the next newest into validation.

    Users without an interaction in training are dropped. Ties go by the order of rows.
    """
    total = len(users)
    n_test, n_valid = _held_out(np.array(total), config)
    age = np.empty(total, dtype=np.int64)
    age[np.argsort(times, kind="stable")[::-1]] = np.arange(total)
    codes = _codes(age < n_test, age < n_test + n_valid)
    trained = np.bincount(users, codes == TRAIN) > 0
    codes[~trained[users]] = DROPPED
    return codes


def thinned(codes: Codes, users: IntArray, config: SplitConfig) -> Codes:
    """Drop all but ``train_share`` of each user's training interactions, at random.

    Shares are rounded half up, and at least one is kept. A smaller share of the same seed keeps a
    part of what a larger one keeps.

    Parameters
    ----------
    codes
        As `split` gives them.
    users
        Index of the user of each interaction.
    config
        The share and the seed.

    Returns
    -------
    codes
        A copy, -1 for what is dropped.
    """
    train = np.flatnonzero(codes == TRAIN)
    owners = users[train]
    kept = np.maximum(np.floor(np.bincount(owners) * config.train_share + 0.5), 1)
    # not the numbers of the split, of which training has the largest
    draw = np.random.default_rng([config.seed, 1]).random(len(train))
    thin = codes.copy()
    thin[train[_rank_within(owners, draw) >= kept[owners]]] = DROPPED
    return thin


def _times(frame: pl.DataFrame, clock: Clock, config: SplitConfig) -> Times:
    have = None
    if clock == "none":
        have = "have none"
    elif clock == "position" and config.method == "time":
        have = "have only positions within a user"
    elif missing := frame["timestamp"].null_count():
        have = f"lack it for {missing:,} interactions"
    if have:
        raise DataError(
            f"the split {config.method!r} needs a timestamp, and the data {have}",
            where="data.split.method",
            mend="choose ratio, or map the column in data.columns.timestamp",
        )
    times: Times = frame["timestamp"].to_numpy()
    return times


def _held_out(counts: Counts, config: SplitConfig) -> tuple[Counts, Counts]:
    """Size the test and validation parts of ``counts`` interactions; at least one remains."""
    sizes = []
    remaining = counts - 1
    for share in (config.test, config.valid):
        rounded = np.floor(counts * share + 0.5).astype(np.int64)
        sizes.append(np.minimum(np.maximum(rounded, 1), remaining))
        remaining = remaining - sizes[-1]
    return sizes[0], sizes[1]


def _rank_within(users: IntArray, keys: npt.NDArray[np.float64] | Times) -> IntArray:
    """Rank each row among its user's rows by ascending key; ties go by the order of rows."""
    order = np.lexsort((keys, users))
    starts = np.cumsum(np.bincount(users)) - np.bincount(users)
    rank = np.empty(len(users), dtype=np.int32)
    for block in blocks(len(users)):
        rows = order[block]
        rank[rows] = np.arange(block.start, block.start + len(rows)) - starts[users[rows]]
    return rank


def _codes(test: npt.NDArray[np.bool_], test_or_valid: npt.NDArray[np.bool_]) -> Codes:
    return np.where(test, TEST, np.where(test_or_valid, VALID, TRAIN)).astype(np.int8)
