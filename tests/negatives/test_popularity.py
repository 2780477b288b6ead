import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from sampler_cases import make_batch, make_view, seeded
from scipy import stats

from hnlmrec.negatives import PairBatch, Popularity, Uninteracted
from hnlmrec.negatives import popularity as module
from hnlmrec.negatives.popularity import ItemWeights


def csr(dense):
    return sp.csr_array(np.asarray(dense, dtype=np.float32))


def draws_of(sampler, user, n):
    users = torch.tensor([user])
    return sampler.sample(PairBatch(users, users, users), make_view(), seeded(user)).items[0]


@pytest.mark.parametrize("beta", [0.0, 0.75, 1.0])
def test_items_are_drawn_in_proportion_to_the_power_of_their_popularity(beta):
    interacted = np.zeros((4, 40), dtype=bool)
    interacted[0, [0, 1, 2, 17, 39]] = True
    interacted[2, 5:35] = True
    interacted[3, 0:39:2] = True
    counts = np.arange(1, 41)[::-1] ** 2
    sampler = Popularity(Uninteracted(csr(interacted)), 30_000, counts, beta)
    for user in range(4):
        observed = np.bincount(draws_of(sampler, user, 30_000), minlength=40)
        free = ~interacted[user]
        expected = counts[free] ** beta
        assert observed[free].sum() == 30_000
        assert stats.chisquare(observed[free], expected / expected.sum() * 30_000).pvalue > 0.01


@given(
    seed=st.integers(0, 10_000), n_users=st.integers(1, 6), n_items=st.integers(2, 20),
    density=st.sampled_from([0.0, 0.3, 0.9, 1.0]), beta=st.sampled_from([0.0, 0.5, 1.0]),
)  # fmt: skip
def test_each_unit_of_a_users_free_weight_is_one_draw(seed, n_users, n_items, density, beta):
    # with a coarse table all draws can be counted: an item has as many as its weight
    rng = np.random.default_rng(seed)
    interacted = rng.random((n_users, n_items)) < density
    interacted[np.arange(n_users), rng.integers(n_items, size=n_users)] = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FINEST", 200)
        sampler = Popularity(Uninteracted(csr(interacted)), 1, rng.integers(0, 9, n_items), beta)
    weights = sampler.table.weights.numpy()
    for user in range(n_users):
        free = int(weights[~interacted[user]].sum())
        assert free == int(sampler._free[user])
        draws = torch.arange(free).unsqueeze(0)
        passed = sampler._weight_passed(torch.tensor([[user]]), draws)
        items = sampler.table.at(draws + passed)[0].numpy()
        expected = np.where(interacted[user], 0, weights)
        assert np.bincount(items, minlength=n_items).tolist() == expected.tolist()


def test_an_item_that_is_not_in_training_is_next_to_never_drawn():
    counts = np.array([0, 5, 5, 0])
    sampler = Popularity(Uninteracted(csr(np.zeros((1, 4)))), 5000, counts, 0.75)
    assert set(draws_of(sampler, 0, 5000).tolist()) == {1, 2}


def test_a_user_left_with_items_not_in_training_gets_them():
    sampler = Popularity(Uninteracted(csr([[0, 1, 1, 0]])), 200, np.array([0, 5, 5, 0]), 0.75)
    assert set(draws_of(sampler, 0, 200).tolist()) == {0, 3}


def test_sums_over_all_users_may_wrap():
    # 4,000 users of the one popular item: their weights together pass 64 bits
    n_users = 4000
    train = csr(np.repeat([[1, 0, 0]], n_users, axis=0))
    sampler = Popularity(Uninteracted(train), 2, np.array([10**12, 3, 1]), 1.0)
    users = torch.arange(n_users)
    items = sampler.sample(PairBatch(users, users, users), make_view(), seeded()).items
    assert n_users * int(sampler.table.weights[0]) > 2**53
    counts = np.bincount(items.flatten(), minlength=3)
    assert counts[0] == 0
    assert counts[1] / counts.sum() == pytest.approx(0.75, abs=0.02)


def test_weights_are_proportional_at_least_one_and_exact_enough():
    counts = np.array([0, 1, 1000, 10**6])
    table = ItemWeights(counts, 0.5)
    weights = table.weights.numpy()
    assert weights.dtype == np.int64
    assert weights[0] == 1
    np.testing.assert_allclose(weights[1:] / weights[1], counts[1:] ** 0.5, rtol=1e-6)
    assert table.total == weights.sum() == int(table.cumulative[-1])
    assert table.total * 2**18 < 2**62  # a draw modulo the total is even to 1 part in 2**18


def test_corrections_are_inverse_weights_of_mean_one():
    table = ItemWeights(np.array([1, 2, 4, 0]), 1.0)
    correction = table.correction(torch.tensor([0, 1, 2, 2]), torch.float64)
    np.testing.assert_allclose(correction, np.array([4, 2, 1, 1]) / 2)


def test_pairs_of_a_batch_are_drawn_for_their_own_users():
    interacted = [[1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0, 1], [1, 0, 1], [1, 1, 0]]
    sampler = Popularity(Uninteracted(csr(interacted)), 3, np.array([7, 1, 2]), 0.75)
    items = sampler.sample(make_batch(users=(2, 0, 2, 1)), make_view(), seeded()).items
    assert items.tolist() == [[1] * 3, [2] * 3, [1] * 3, [0] * 3]
