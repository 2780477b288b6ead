"""A seeded synthetic set of interactions of any size, with power laws and a taste to learn.

Of ``n`` interactions there are ``n // 12`` users and ``n // 60`` items, about as in Amazon's 5-core
sets. Run ``python benchmarks/synthetic.py 1e6`` to see what comes out.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import Interactions

INTERACTIONS_PER_USER = 12
INTERACTIONS_PER_ITEM = 60
FEWEST = 4  # interactions of a user
ACTIVITY_TAIL = 1.5  # P(activity > d) ~ d^-1.5, whose mean is 3 * FEWEST
POPULARITY_DECAY = 0.8  # popularity ~ rank^-0.8
TASTES = 20  # groups of items; the set is of about this rank
TASTE_SHARE = 0.6  # of a user's draws are from the own group
BUSIEST = 0.05  # of the catalogue, about, are the busiest user's

Ints = npt.NDArray[np.int64]


def synthetic(n: int, seed: int = 0) -> Interactions:
    """Draw ``n`` distinct pairs of user and item and divide them 8:1:1.

    Users' activity is a Pareto law of which the busiest are cut, items' popularity is Zipf's.
    Items are in groups, each user likes one of them, and most draws are from that group. Every
    user keeps at least one interaction in training; an item may have none.

    Parameters
    ----------
    n
        Number of interactions, at least 10,000. Memory is about 120 bytes each.
    seed
        The same seed gives the same data.

    Raises
    ------
    ValueError
        If ``n`` is too small.
    """
    if n < 10_000:
        raise ValueError(f"n is {n} and must be at least 10,000")
    rng = np.random.default_rng(seed)
    n_users, n_items = n // INTERACTIONS_PER_USER, n // INTERACTIONS_PER_ITEM
    activity = _activity(n, n_users, int(BUSIEST * n_items), rng)
    users, items = np.divmod(_distinct_pairs(activity, n_items, rng), n_items)
    split = _split(users, activity, rng)
    return Interactions.from_pairs(
        _ids("u", n_users),
        _ids("i", n_items),
        users.astype(np.int32),
        items.astype(np.int32),
        split,
    )


def _activity(n: int, n_users: int, most: int, rng: np.random.Generator) -> Ints:
    """Quantiles of a Pareto law in random order, rounded so that they add up to ``n``."""
    quantiles = (np.arange(n_users) + 0.5) / n_users
    # cut, or the busiest users would have most of the catalogue
    excess = np.minimum(FEWEST * (quantiles ** (-1 / ACTIVITY_TAIL) - 1), most - FEWEST)
    excess *= (n - FEWEST * n_users) / excess.sum()
    upto = np.rint(np.cumsum(rng.permutation(excess))).astype(np.int64)
    return FEWEST + np.diff(upto, prepend=0)


def _distinct_pairs(activity: Ints, n_items: int, rng: np.random.Generator) -> Ints:
    """Draw as many distinct items a user as ``activity`` says; sorted ``user * n_items + item``.

    Repeated pairs are drawn again, from all groups and each time with a flatter popularity: a busy
    user who has the popular items goes on to others, and the rounds are few.
    """
    n_users = len(activity)
    popularity = rng.permutation((np.arange(n_items) + 1.0) ** -POPULARITY_DECAY)
    # items of a group are neighbours, so that a draw from a group is one from a range of `upto`
    groups = np.linspace(0, n_items, TASTES + 1).astype(np.int64)
    taste = rng.integers(TASTES, size=n_users)
    share = TASTE_SHARE
    keys = np.empty(0, dtype=np.int64)
    missing = activity
    while missing.any():
        users = np.repeat(np.arange(n_users), missing)
        upto = np.concatenate([[0.0], np.cumsum(popularity)])
        own = rng.random(len(users)) < share
        low = np.where(own, upto[groups[taste[users]]], 0.0)
        high = np.where(own, upto[groups[taste[users] + 1]], upto[-1])
        point = low + rng.random(len(users)) * (high - low)
        items = np.minimum(np.searchsorted(upto, point, side="right") - 1, n_items - 1)
        keys = np.sort(np.concatenate([keys, users * n_items + items]))
        keys = keys[np.diff(keys, prepend=-1) > 0]  # np.unique hashes and is many times slower
        missing = activity - np.bincount(keys // n_items, minlength=n_users)
        popularity, share = np.sqrt(popularity), 0.0
    return keys


def _split(users: Ints, activity: Ints, rng: np.random.Generator) -> npt.NDArray[np.int8]:
    """Assign a tenth to test (2) and to validation (1) each; ``users`` are sorted."""
    kept = np.cumsum(activity) - activity + rng.integers(activity)
    free = np.ones(len(users), dtype=bool)
    free[kept] = False
    held_out = rng.permutation(np.flatnonzero(free))[: 2 * (len(users) // 10)]
    split = np.zeros(len(users), dtype=np.int8)
    split[held_out] = 1
    split[held_out[: len(users) // 10]] = 2
    return split


def _ids(prefix: str, n: int) -> pl.Series:
    return pl.select(pl.lit(prefix) + pl.int_range(n).cast(pl.String)).to_series()


def main() -> None:
    """Print what one set looks like."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("interactions", type=float)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.perf_counter()
    data = synthetic(int(arguments.interactions), arguments.seed)
    seconds = time.perf_counter() - start
    activity = np.sort(np.diff(data.train.indptr))
    popularity = np.sort(np.bincount(data.train.indices, minlength=data.n_items))
    print(f"{data.n_users:,} users, {data.n_items:,} items, drawn in {seconds:.1f} s")
    print(f"train {data.train.nnz:,}, valid {data.valid.nnz:,}, test {data.test.nnz:,}")
    for name, counts in (("users", activity), ("items", popularity)):
        share = counts[-max(1, len(counts) // 100) :].sum() / counts.sum()
        print(f"{name}: the top 1 % have {share:.0%} of training, the first {counts[-1]:,}")
    print(f"items without training: {(popularity == 0).sum():,}")


if __name__ == "__main__":
    main()
