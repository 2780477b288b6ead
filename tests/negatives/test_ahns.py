import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sampler_cases import make_batch, make_pool, make_view, seeded

from hnlmrec.negatives import Ahns, EmbeddingView, PairBatch, Uninteracted

N, M = 3, 7


@pytest.mark.parametrize("power", [-2.0, -1.5, -4.0])
@pytest.mark.parametrize("alpha", [0.1, 9.0])
def test_the_candidate_nearest_to_the_target_is_chosen(alpha, power):
    view, batch, beta = make_view().detach(), make_batch(users=(0, 0, 1, 1, 2, 2, 3, 3, 4, 5)), 0.7
    chosen = Ahns(make_pool(), N, M, alpha, beta, power).sample(batch, view, seeded()).items
    drawn = make_pool().sample(batch.users, N * M, seeded())
    targets = []
    for pair, (user, positive) in enumerate(zip(batch.users, batch.positives, strict=True)):
        score = float(view.users[user] @ view.items[positive])
        targets.append(beta * (score + alpha) ** (power + 1) if score > -alpha else np.inf)
        for negative in range(N):
            items = drawn[pair, negative * M : (negative + 1) * M].tolist()
            scores = [float(view.users[user] @ view.items[item]) for item in items]
            far = [abs(s - targets[-1]) if np.isfinite(targets[-1]) else -s for s in scores]
            assert chosen[pair, negative] == items[int(np.argmin(far))]
    assert np.isfinite(targets).any()
    assert np.isfinite(targets).all() == (alpha == 9.0)


def line(scores_of_positives, power, alpha=1.0, beta=1.0, n_items=200):
    """One user whose score of item j is j / 100; each positive scores what it is told to."""
    items = torch.cat([torch.arange(n_items) / 100, torch.tensor(scores_of_positives)])
    view = EmbeddingView(torch.ones(1, 1), items.unsqueeze(1))
    positives = n_items + torch.arange(len(scores_of_positives))
    interacted = np.zeros((1, len(items)), dtype=np.float32)
    interacted[0, n_items:] = 1
    users = torch.zeros_like(positives)
    sampler = Ahns(Uninteracted(sp.csr_array(interacted)), 1, 2000, alpha, beta, power)
    return sampler.sample(PairBatch(users, positives, users), view, seeded()).items[:, 0]


@pytest.mark.parametrize("power", [-2.0, -3.0, -2.5, -40.0])
def test_hardness_never_rises_with_the_positives_score(power):
    chosen = line([-50.0, -1.5, -1.0, -0.999, -0.3, 0.0, 0.4, 1.0, 7.0, 1e6], power)
    assert (chosen.diff() <= 0).all()
    assert chosen[:3].tolist() == [199] * 3  # at and below -alpha the hardest
    assert chosen[-1] == 0


def test_the_hardness_is_that_of_the_curve():
    # 2,000 draws of 200 items: one is missed with a chance below 200 exp(-10)
    assert line([0.0, 1.0, 3.0], power=-2.0).tolist() == [100, 50, 25]
    assert line([1.0], power=-3.0).tolist() == [25]
    assert line([1.0], power=-2.0, alpha=3.0, beta=2.0).tolist() == [50]
