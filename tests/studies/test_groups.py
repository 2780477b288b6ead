"""Metrics of groups of items and users."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.data.interactions import Interactions, to_csr
from hnlmrec.evaluation.metrics import hits, per_user
from hnlmrec.studies.groups import equal_groups, group_metrics
from synthetic import interactions


def test_groups_have_equal_sums_by_hand() -> None:
    # 10 interactions, five groups of 2: four items of 1, then 2, then 4 whose middle is at 8
    assert equal_groups(np.array([1, 4, 1, 2, 1, 1])).tolist() == [1, 5, 1, 3, 2, 2]
    assert equal_groups(np.array([5, 5]), n_groups=2).tolist() == [1, 2]
    assert equal_groups(np.array([0, 0, 0])).tolist() == [1, 1, 1]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 6))
def test_rarer_is_never_in_a_higher_group(counts: list[int], n: int) -> None:
    array = np.array(counts)
    groups = equal_groups(array, n)
    assert groups.min() >= 1
    assert groups.max() <= n
    assert (np.diff(groups[np.argsort(array, kind="stable")]) >= 0).all()
    # no group holds more than its share and one more element
    for group in range(1, n + 1):
        assert array[groups == group].sum() <= array.sum() / n + array.max()


@pytest.fixture(scope="module")
def data() -> Interactions:
    return interactions()


@pytest.fixture(scope="module")
def ranking(data: Interactions) -> np.ndarray:
    random = np.random.default_rng(3)
    order = np.argsort(random.random((data.n_users, data.n_items)), axis=1)
    return order[:, :10].astype(np.int32)


def test_groups_of_items_are_the_metric_of_their_relevant_items(
    data: Interactions, ranking: np.ndarray
) -> None:
    users = np.arange(data.n_users)
    found = group_metrics(
        per_user(ranking, data.test, users, [5, 10]),
        hits(ranking, data.test, users),
        data,
        [5, 10],
    ).filter(side="items")
    counts = np.bincount(data.train.indices, minlength=data.n_items)
    groups = equal_groups(counts)
    of_user, of_item = data.pairs("test")
    checked = 0
    for group in range(1, 6):
        own = groups[of_item] == group
        if not own.any():
            continue
        relevant = to_csr(of_user[own], of_item[own], data.test.shape)
        oracle = per_user(ranking, relevant, users, [5, 10])
        for k in (5, 10):
            (row,) = found.filter(group=group, metric=f"recall@{k}").iter_rows(named=True)
            assert row["value"] == pytest.approx(oracle[f"recall@{k}"].mean())
            assert row["users"] == oracle.height
            low, _, high = row["label"].partition("-")
            assert int(low) == counts[groups == group].min()
            assert int(high or low) == counts[groups == group].max()
            checked += 1
    assert checked == found.height >= 6


def test_groups_of_users_average_their_users(data: Interactions, ranking: np.ndarray) -> None:
    users = np.arange(data.n_users)
    rows = per_user(ranking, data.test, users, [5])
    found = group_metrics(rows, hits(ranking, data.test, users), data, [5]).filter(side="users")
    groups = equal_groups(np.diff(data.train.indptr))
    for row in found.filter(metric="ndcg@5").iter_rows(named=True):
        own = rows.filter(pl.col("user").is_in(np.flatnonzero(groups == row["group"])))
        assert row["value"] == pytest.approx(own["ndcg@5"].mean())
        assert row["users"] == own.height
    # users are counted once, so the groups together are all of them
    assert found.filter(metric="ndcg@5")["users"].sum() == rows.height
