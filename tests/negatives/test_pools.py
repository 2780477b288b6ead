import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from sampler_cases import N_ITEMS, make_batch, make_counts, make_pool, make_train, make_view, seeded
from scipy import stats

from hnlmrec.losses.softmax import Sl
from hnlmrec.negatives import InBatch, PairBatch, Shared, Uninteracted
from hnlmrec.negatives.scoring import score_batch


@given(
    seed=st.integers(0, 10_000), n_users=st.integers(1, 6), n_items=st.integers(2, 15),
    n_pairs=st.integers(1, 12), n_pool=st.integers(1, 25), density=st.floats(0, 0.9),
    compiled=st.booleans(),
)  # fmt: skip
def test_interacted_in_is_what_each_pair_says(
    seed, n_users, n_items, n_pairs, n_pool, density, compiled
):
    rng = np.random.default_rng(seed)
    dense = rng.random((n_users, n_items)) < density
    dense[:, 0] = False
    pool = Uninteracted(sp.csr_array(dense.astype(np.float32)))
    if not compiled:
        pool.device = torch.device("meta")  # anything but a CPU
    users, items = rng.integers(n_users, size=n_pairs), rng.integers(n_items, size=n_pool)
    mask = pool.interacted_in(torch.from_numpy(users), torch.from_numpy(items))
    assert mask.tolist() == dense[users[:, None], items].tolist()


def inverse_popularity(beta):
    return np.maximum(make_counts(), 1e-9) ** -beta


def literal_weights(batch, items, inverse):
    """The weight of each pair and pool item, one at a time."""
    dense = make_train().toarray()
    mean = np.mean([inverse[item] for item in items])
    return [
        [0 if dense[user, item] else inverse[item] / mean for item in items]
        for user in batch.users.tolist()
    ]


@pytest.mark.parametrize("correct", [True, False])
def test_in_batch_negatives_are_the_other_pairs_positives(correct):
    batch = make_batch()
    negatives = InBatch(make_pool(), make_counts(), correct).sample(batch, make_view(), seeded())
    items = batch.positives.tolist()
    assert negatives.items.tolist() == [items]
    inverse = inverse_popularity(1.0 if correct else 0.0)
    np.testing.assert_allclose(negatives.weights, literal_weights(batch, items, inverse), rtol=1e-5)
    assert not negatives.weights.diagonal().any()
    assert negatives.weights.any()


@pytest.mark.parametrize("beta", [0.0, 0.75])
def test_a_shared_pool_is_weighed_by_what_drew_it(beta):
    batch = make_batch()
    sampler = Shared(make_pool(), 50, make_counts(), beta)
    negatives = sampler.sample(batch, make_view(), seeded())
    items = negatives.items[0].tolist()
    assert items == sampler.table.draw(50, seeded()).tolist()
    inverse = inverse_popularity(beta)
    np.testing.assert_allclose(negatives.weights, literal_weights(batch, items, inverse), rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_shared_pool_is_drawn_by_popularity(beta):
    sampler = Shared(make_pool(), 30_000, make_counts(), beta)
    drawn = sampler.sample(make_batch(), make_view(), seeded()).items[0]
    expected = make_counts().astype(float) ** beta
    expected *= 30_000 / expected.sum()
    observed = np.bincount(drawn, minlength=N_ITEMS)
    kept = expected > 0
    assert not observed[~kept].any()
    assert stats.chisquare(observed[kept], expected[kept]).pvalue > 0.01


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_weighed_exponentials_estimate_those_over_all_uninteracted_items(beta):
    # mean over the pool of w exp(s), over the mean of w: the mean over all un-interacted items
    view, batch = make_view().detach(), make_batch()
    sampler = Shared(make_pool(), 200_000, make_counts(), beta)
    negatives = sampler.sample(batch, view, seeded())
    _, scores, weights = score_batch(batch, negatives, view)
    estimate = (weights * scores.exp()).sum(dim=1) / weights.sum(dim=1)
    for pair, user in enumerate(batch.users.tolist()):
        # an item that is not in training is never drawn by its popularity
        free = (make_train().toarray()[user] == 0) & (make_counts().astype(float) ** beta > 0)
        exact = (view.items[torch.from_numpy(free)] @ view.users[user]).exp().mean()
        assert estimate[pair] == pytest.approx(float(exact), rel=0.03)


def test_a_pair_that_a_pool_leaves_without_negatives_adds_nothing_to_the_loss():
    batch = make_batch(users=(3,))
    pair = PairBatch(batch.users.repeat(2), batch.positives.repeat(2), batch.index.repeat(2))
    view = make_view().detach()
    negatives = InBatch(make_pool(), make_counts(), True).sample(pair, view, seeded())
    assert not negatives.weights.any()
    assert Sl(0.2)(*score_batch(pair, negatives, view)) == 0
