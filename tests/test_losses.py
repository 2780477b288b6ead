import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.losses import RANKING_LOSSES, bpr, contrastive, info_nce

sizes = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 9999))
temperatures = st.sampled_from([0.05, 0.2, 1.0])


def tensors(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def cosine(a, b):
    return float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))


def test_bpr_by_hand():
    # scores: positive 2, negatives 0 and 3
    user, positive = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    negative = torch.tensor([[[1.0, -1.0], [0.0, 3.0]]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert bpr(user, positive, negative).item() == pytest.approx(expected)


@given(sizes)
def test_bpr_against_loops(size):
    n_pairs, n_negatives, dim, seed = size
    user, positive, negative = tensors(
        seed, (n_pairs, dim), (n_pairs, dim), (n_pairs, n_negatives, dim)
    )
    terms = []
    for u, p, negatives in zip(
        *(x.double().numpy() for x in (user, positive, negative)), strict=True
    ):
        for n in negatives:
            terms.append(-math.log(1 / (1 + math.exp(-(u @ p - u @ n)))))
    assert bpr(user, positive, negative).item() == pytest.approx(np.mean(terms), rel=1e-4)


def test_bpr_of_hopeless_scores_is_finite():
    user, positive = torch.full((1, 1), 1e4), torch.full((1, 1), -1e4)
    assert bpr(user, positive, torch.full((1, 1, 1), 1e4)).item() == pytest.approx(2e8)


def test_contrastive_by_hand():
    # the positive is at cosine 1 whatever its length, the synthesised negative at cosine 0
    user, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 0.0]])
    synthesised = torch.tensor([[0.0, 2.0]])
    expected = -math.log(math.exp(1 / 0.2) / (math.exp(1 / 0.2) + math.exp(0)))
    assert contrastive(user, positive, synthesised, 0.2).item() == pytest.approx(expected)


@given(sizes, temperatures)
def test_contrastive_against_the_papers_formula(size, temperature):
    n_pairs, _, dim, seed = size
    triple = tensors(seed, *[(n_pairs, dim)] * 3)
    terms = []
    for u, p, s in zip(*(x.double().numpy() for x in triple), strict=True):
        right, wrong = (math.exp(cosine(u, x) / temperature) for x in (p, s))
        terms.append(-math.log(right / (right + wrong)))
    result = contrastive(*triple, temperature).item()
    assert result == pytest.approx(np.mean(terms), rel=1e-3, abs=1e-6)


@given(sizes, temperatures)
def test_info_nce_against_loops(size, temperature):
    n_pairs, _, dim, seed = size
    a, b = tensors(seed, (n_pairs, dim), (n_pairs, dim))
    terms = []
    for i in range(n_pairs):
        weights = [math.exp(cosine(a[i].numpy(), row.numpy()) / temperature) for row in b]
        terms.append(-math.log(weights[i] / sum(weights)))
    result = info_nce(a, b, temperature).item()
    assert result == pytest.approx(np.mean(terms), rel=1e-3, abs=1e-5)


def test_info_nce_has_one_direction():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    e = math.exp(1)
    assert info_nce(a, b, 1.0).item() == pytest.approx(
        (math.log((e + 1) / e) + math.log(e + 1)) / 2
    )
    assert info_nce(b, a, 1.0).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss", RANKING_LOSSES.values(), ids=RANKING_LOSSES)
def test_ranking_losses_fall_as_the_positive_rises(loss):
    user, positive, negative = tensors(0, (4, 3), (4, 3), (4, 2, 3))
    assert loss(user, positive + user, negative) < loss(user, positive, negative)
    assert loss(user, positive, negative + user[:, None]) > loss(user, positive, negative)


@pytest.mark.parametrize("loss", RANKING_LOSSES.values(), ids=RANKING_LOSSES)
def test_ranking_losses_reach_all_three(loss):
    inputs = [x.requires_grad_() for x in tensors(1, (4, 3), (4, 3), (4, 2, 3))]
    loss(*inputs).backward()
    assert all((x.grad != 0).any() for x in inputs)
