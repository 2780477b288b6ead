from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def synthetic():
    # by its file: the name is that of a module of the tests
    spec = importlib.util.spec_from_file_location("synthetic_set", BENCHMARKS / "synthetic.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.synthetic


@pytest.fixture(scope="module")
def data(synthetic):
    return synthetic(100_000, seed=3)


def all_keys(data) -> np.ndarray:
    parts = (data.pairs(split) for split in ("train", "valid", "test"))
    return np.concatenate([users.astype(np.int64) * data.n_items + items for users, items in parts])


def test_sizes_are_exact(data):
    assert (data.n_users, data.n_items) == (8_333, 1_666)
    assert (data.train.nnz, data.valid.nnz, data.test.nnz) == (80_000, 10_000, 10_000)
    assert data.user_ids.n_unique() == 8_333
    assert data.item_ids.n_unique() == 1_666


@pytest.mark.parametrize("n", [10_000, 12_347])
def test_every_interaction_is_kept_whatever_the_number(synthetic, n):
    data = synthetic(n)
    assert len(np.unique(all_keys(data))) == n
    assert data.valid.nnz == data.test.nnz == n // 10


def test_pairs_are_distinct_across_the_parts(data):
    keys = all_keys(data)
    assert len(np.unique(keys)) == len(keys) == 100_000


def test_same_seed_same_data_another_seed_other_data(synthetic, data):
    again, other = synthetic(100_000, seed=3), synthetic(100_000, seed=4)
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(data.pairs(split), again.pairs(split))
    assert again.user_ids.equals(data.user_ids)
    shared = np.intersect1d(all_keys(data), all_keys(other))
    assert len(shared) < 20_000


def test_every_user_has_a_training_interaction(data):
    assert np.diff(data.train.indptr).min() >= 1


def test_few_users_and_items_have_a_large_share(data):
    # of a uniform draw the top 1 % would have 1 to 2 %
    all_parts = data.train + data.valid + data.test
    activity = np.sort(np.diff(all_parts.indptr))[::-1]
    popularity = np.sort(np.bincount(all_parts.indices, minlength=data.n_items))[::-1]
    assert activity[-1] == 4
    assert activity[:83].sum() > 0.08 * 100_000
    assert popularity[:16].sum() > 0.1 * 100_000


def test_activity_falls_as_the_power_law_says(data):
    all_parts = data.train + data.valid + data.test
    activity = np.diff(all_parts.indptr)
    # P(activity > d) ~ d^-1.5 between the fewest and the cut; doubling d divides it by 2.83
    tail = np.array([(activity > d).mean() for d in (8, 16, 32)])
    np.testing.assert_allclose(tail[:-1] / tail[1:], 2**1.5, rtol=0.15)


def test_users_prefer_the_items_of_a_taste(data):
    # 20 tastes: items of a group are neighbours, and most users have one group more than others
    group = data.train.indices * 20 // data.n_items
    users = np.repeat(np.arange(data.n_users), np.diff(data.train.indptr))
    counts = np.zeros((data.n_users, 20))
    np.add.at(counts, (users, group), 1)
    share = counts.max(axis=1).sum() / counts.sum()
    assert share > 0.45


def test_too_few_interactions_are_refused(synthetic):
    with pytest.raises(ValueError, match="at least 10,000"):
        synthetic(9_999)
