import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy import stats

from hnlmrec.negatives import Dns, EmbeddingView, PairBatch, Uninteracted

N_USERS, N_ITEMS = 6, 30


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pool():
    interacted = np.random.default_rng(1).random((N_USERS, N_ITEMS)) < 0.3
    return Uninteracted(sp.csr_array(interacted.astype(np.float32)))


@pytest.fixture
def view():
    generator = seeded(9)
    return EmbeddingView(*(torch.randn(n, 5, generator=generator) for n in (N_USERS, N_ITEMS)))


@pytest.fixture
def batch():
    users = torch.tensor([3, 0, 3, 5, 1])
    return PairBatch(users, torch.zeros(5, dtype=torch.int64), torch.arange(5))


def literal_candidates(batch, pool, view, n, candidates):
    """Draw as the sampler does first, then score and sort one candidate at a time."""
    drawn = pool.sample(batch.users, n * candidates, seeded())
    for pair, user in enumerate(batch.users.tolist()):
        for negative in range(n):
            items = drawn[pair, negative * candidates : (negative + 1) * candidates].tolist()
            scores = {item: float(view.users[user] @ view.items[item]) for item in items}
            yield pair, negative, sorted(items, key=lambda item, s=scores: -s[item])


def test_the_hardest_candidate_is_chosen(batch, pool, view):
    chosen = Dns(pool, n=3, candidates=7, top=1).sample(batch, view, seeded()).items
    for pair, negative, ordered in literal_candidates(batch, pool, view, 3, 7):
        assert chosen[pair, negative] == ordered[0]


def test_one_of_the_top_is_chosen(batch, pool, view):
    chosen = Dns(pool, n=3, candidates=7, top=2).sample(batch, view, seeded()).items
    places = [
        ordered.index(chosen[pair, negative])
        for pair, negative, ordered in literal_candidates(batch, pool, view, 3, 7)
    ]
    assert set(places) == {0, 1}


def test_the_choice_among_the_top_is_uniform():
    # one user scores items by index; of 4 candidates out of 1000, rank is the place in the order
    view = EmbeddingView(torch.ones(1, 1), torch.arange(1000.0).unsqueeze(1))
    pool = Uninteracted(sp.csr_array((1, 1000), dtype=np.float32))
    users = torch.zeros(8000, dtype=torch.int64)
    drawn = pool.sample(users, 4, seeded())
    chosen = Dns(pool, 1, 4, 3).sample(PairBatch(users, users, users), view, seeded()).items
    places = (drawn > chosen).sum(dim=1)
    counts = torch.bincount(places, minlength=4)
    assert counts[3] == 0
    assert stats.chisquare(counts[:3].numpy()).pvalue > 0.01


def test_only_items_are_given(batch, pool, view):
    negatives = Dns(pool, n=3, candidates=7, top=2).sample(batch, view, seeded())
    assert negatives.items.shape == (5, 3)
    assert negatives.embeddings is None
    assert negatives.weights is None


def test_one_candidate_is_uniform_sampling(batch, pool, view):
    chosen = Dns(pool, n=4, candidates=1, top=1).sample(batch, view, seeded()).items
    assert torch.equal(chosen, pool.sample(batch.users, 4, seeded()))
