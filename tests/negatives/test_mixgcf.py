from dataclasses import replace

import numpy as np
import pytest
import torch
from sampler_cases import DIM, N_USERS, make_batch, make_pool, make_view, seeded

from hnlmrec.negatives import EmbeddingView, MixGcf

N, M = 3, 7


def literal(view, batch, concatenate=False):
    """One pair, negative, layer and candidate at a time; the draws are the sampler's."""
    generator = seeded()
    drawn = make_pool().sample(batch.users, N * M, generator).numpy()
    shares = torch.rand((len(drawn), N, len(view.layers)), generator=generator).numpy()
    result = np.zeros((len(drawn), N), dtype=object)
    first = np.zeros((len(drawn), N), dtype=int)
    for pair, (user, positive) in enumerate(zip(batch.users, batch.positives, strict=True)):
        for negative in range(N):
            chosen = []
            for number, layer in enumerate(view.layers):
                users = layer.users if concatenate else view.users
                e_u = users[user].detach().numpy()
                share = shares[pair, negative, number]
                mixtures = []
                for item in drawn[pair, negative * M : (negative + 1) * M]:
                    e_pos, e_neg = (layer.items[i].detach().numpy() for i in (positive, item))
                    mixtures.append((share * e_pos + (1 - share) * e_neg, item))
                best = max(mixtures, key=lambda mixture, e_u=e_u: float(mixture[0] @ e_u))
                chosen.append(best[0])
                if number == 0:
                    first[pair, negative] = best[1]
            pooled = np.concatenate(chosen) if concatenate else np.mean(chosen, axis=0)
            result[pair, negative] = pooled
    return first, np.array(result.tolist(), dtype=np.float32)


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_are_mixed_as_in_the_paper(layers):
    view, batch = make_view(layers), make_batch()
    negatives = MixGcf(make_pool(), N, M).sample(batch, view, seeded())
    items, embeddings = literal(view, batch)
    assert negatives.items.tolist() == items.tolist()
    np.testing.assert_allclose(negatives.embeddings.detach(), embeddings, rtol=1e-5, atol=1e-6)


def test_layers_side_by_side_are_mixed_each_with_its_own_users():
    view = make_view()
    wide = torch.cat([layer.table for layer in view.layers], dim=1)
    view = replace(EmbeddingView.of_table(wide, N_USERS), layers=view.layers)
    batch = make_batch()
    negatives = MixGcf(make_pool(), N, M).sample(batch, view, seeded())
    items, embeddings = literal(view, batch, concatenate=True)
    assert embeddings.shape == (6, N, 3 * DIM)
    assert negatives.items.tolist() == items.tolist()
    np.testing.assert_allclose(negatives.embeddings.detach(), embeddings, rtol=1e-5, atol=1e-6)


def test_a_backbone_without_layers_is_its_own_layer():
    view, batch = make_view(1), make_batch()
    bare = replace(view.layers[0], layers=())
    one = MixGcf(make_pool(), N, M).sample(batch, bare, seeded())
    other = MixGcf(make_pool(), N, M).sample(batch, replace(bare, layers=(bare,)), seeded())
    assert torch.equal(one.embeddings, other.embeddings)


def test_gradients_reach_positives_by_their_share_and_candidates_by_the_rest():
    view, batch = make_view(2), make_batch()
    negatives = MixGcf(make_pool(), 1, M).sample(batch, view, seeded())
    negatives.embeddings[0].sum().backward()
    shares = seeded()
    make_pool().sample(batch.users, M, shares)
    share = torch.rand((6, 1, 2), generator=shares)[0, 0, 0]
    gradient = view.layers[0].table.grad[N_USERS:]
    positive, item = batch.positives[0], negatives.items[0, 0]
    torch.testing.assert_close(gradient[positive], (share / 2).expand(DIM))
    torch.testing.assert_close(gradient[item], ((1 - share) / 2).expand(DIM))
    assert gradient.count_nonzero() == 2 * DIM
    assert view.table.grad is None
