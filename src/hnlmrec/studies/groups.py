"""Metrics of groups of items and of users: of how popular, and how active, they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import Interactions

N_GROUPS = 5


def equal_groups(
    counts: npt.NDArray[np.integer], n_groups: int = N_GROUPS
) -> npt.NDArray[np.int64]:
    """Divide what was counted into groups with about the same sum of counts each.

    All of the same count are in the same group: that in which the middle of their part of the sum
    lies, smaller counts first. So the first group has many rare ones, the last a few frequent
    ones; and there are fewer groups where one count has more than its share.

    Parameters
    ----------
    counts
        At least 0, int ``[n]``.
    n_groups
        How many at most.

    Returns
    -------
    ndarray
        Group of each, from 1 without gaps, int64 ``[n]``.
    """
    values, place, frequency = np.unique(counts, return_inverse=True, return_counts=True)
    sums = values * frequency
    middles = np.cumsum(sums) - sums / 2
    group = np.minimum(middles * n_groups / max(sums.sum(), 1), n_groups - 1).astype(np.int64)
    return np.unique(group, return_inverse=True)[1][place] + 1


def group_metrics(
    per_user: pl.DataFrame,
    hits: pl.DataFrame | None,
    interactions: Interactions,
    cutoffs: Sequence[int],
) -> pl.DataFrame:
    """Measure each group of items and of users, groups of about equal numbers of interactions.

    Of a group of users all metrics are means over its users. Of a group of items there is
    Recall@K: of each user with relevant items in the group, the share of these among the first K,
    as a mean over such users (HNLMRec, arXiv 2504.04726, Fig. 4b; our estimator).

    Parameters
    ----------
    per_user
        As in `Evaluation`.
    hits
        Where relevant items stand, as `hnlmrec.evaluation.metrics.hits` gives them; None: groups
        of items are left out.
    interactions
        Training counts decide the groups, test interactions are the relevant ones.
    cutoffs
        The values of K.

    Returns
    -------
    DataFrame
        ``side`` (items, users), ``group`` from 1, ``label`` (the range of counts in training),
        ``users`` (how many the mean is of), ``metric`` and ``value``.
    """
    train = interactions.train
    of_users = np.diff(train.indptr)
    of_items = np.bincount(train.indices, minlength=interactions.n_items)
    frames = [_of_users(per_user, _labelled(of_users, "user"))]
    if hits is not None:
        items = _labelled(of_items, "item")
        frames.append(_of_items(hits, _test_pairs(interactions), items, cutoffs))
    return pl.concat(frames)


def _labelled(counts: npt.NDArray[np.integer], kind: str) -> pl.DataFrame:
    """The group of each user or item, and the range of counts that the group has."""
    frame = pl.DataFrame(
        {
            kind: np.arange(len(counts), dtype=np.int32),
            "count": counts.astype(np.int64),
            "group": equal_groups(counts),
        }
    )
    low, high = pl.col("count").min().over("group"), pl.col("count").max().over("group")
    label = pl.when(low == high).then(low.cast(pl.String)).otherwise(pl.format("{}-{}", low, high))
    return frame.select(kind, "group", label.alias("label"))


def _of_users(per_user: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    metrics = [name for name in per_user.columns if "@" in name]
    joined = per_user.join(groups, on="user")
    means = joined.group_by("group", "label").agg(pl.len().alias("users"), pl.col(metrics).mean())
    return _tidy(means, "users")


def _of_items(
    hits: pl.DataFrame, relevant: pl.DataFrame, groups: pl.DataFrame, cutoffs: Sequence[int]
) -> pl.DataFrame:
    """Recall of the relevant items of each group."""
    ranked = relevant.join(hits, on=["user", "item"], how="left").join(groups, on="item")
    shares = [(pl.col("rank") <= k).fill_null(value=False).mean() for k in cutoffs]
    named = [share.alias(f"recall@{k}") for share, k in zip(shares, cutoffs, strict=True)]
    of_user = ranked.group_by("group", "label", "user").agg(named)
    metrics = [f"recall@{k}" for k in cutoffs]
    means = of_user.group_by("group", "label").agg(pl.len().alias("users"), pl.col(metrics).mean())
    return _tidy(means, "items")


def _test_pairs(interactions: Interactions) -> pl.DataFrame:
    users, items = interactions.pairs("test")
    return pl.DataFrame({"user": users, "item": items}).cast(pl.Int32)


def _tidy(means: pl.DataFrame, side: str) -> pl.DataFrame:
    tidy = means.unpivot(index=["group", "label", "users"], variable_name="metric")
    return tidy.select(
        pl.lit(side).alias("side"), "group", "label", pl.col("users").cast(pl.Int64), "metric",
        "value",
    ).sort("group", "metric")  # fmt: skip
