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
    # 10 interactions, five parts of 2: the four items of 1 have the middle of their part at 2, the
    # one of 2 at 5, that of 4 at 8; so of parts 2, 3 and 5, without gaps
    assert equal_groups(np.array([1, 4, 1, 2, 1, 1])).tolist() == [1, 3, 1, 2, 1, 1]
    assert equal_groups(np.array([9, 1, 8, 2]), n_groups=2).tolist() == [2, 1, 1, 1]
    assert equal_groups(np.array([0, 0, 0])).tolist() == [1, 1, 1]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 6))
def test_rarer_is_never_in_a_higher_group_and_equal_is_in_the_same(
    counts: list[int], n: int
) -> None:
    array = np.array(counts)
    groups = equal_groups(array, n)
    assert set(groups) == set(range(1, groups.max() + 1))
    assert groups.max() <= n
    order = np.argsort(array, kind="stable")
    assert (np.diff(groups[order]) >= 0).all()
    assert (groups[order][1:] == groups[order][:-1])[np.diff(array[order]) == 0].all()
    # no group holds more than its share and the items of one more count
    largest = max(value * (array == value).sum() for value in array)
    for group in range(1, groups.max() + 1):
        assert array[groups == group].sum() <= array.sum() / n + largest


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
    assert group_metrics(oracle, None, data, [5])["side"].unique().to_list() == ["users"]


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
