import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.losses import contrastive, info_nce

sizes = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 9999))
temperatures = st.sampled_from([0.05, 0.2, 1.0])


def tensors(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def cosine(a, b):
    return float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b))


def test_contrastive_by_hand():
    # the positive is at cosine 1 whatever its length, the synthesised negative at cosine 0
    user, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 0.0]])
    synthesised = torch.tensor([[0.0, 2.0]])
    expected = -math.log(math.exp(1 / 0.2) / (math.exp(1 / 0.2) + math.exp(0)))
    assert contrastive(user, positive, synthesised, 0.2).item() == pytest.approx(expected)


@given(sizes, temperatures)
def test_contrastive_against_the_papers_formula(size, temperature):
    n_pairs, dim, seed = size
    triple = tensors(seed, *[(n_pairs, dim)] * 3)
    terms = []
    for u, p, s in zip(*(x.double().numpy() for x in triple), strict=True):
        right, wrong = (math.exp(cosine(u, x) / temperature) for x in (p, s))
        terms.append(-math.log(right / (right + wrong)))
    result = contrastive(*triple, temperature).item()
    assert result == pytest.approx(np.mean(terms), rel=1e-3, abs=1e-6)


@given(sizes, temperatures)
def test_info_nce_against_loops(size, temperature):
    n_pairs, dim, seed = size
    a, b = tensors(seed, (n_pairs, dim), (n_pairs, dim))
    terms = []
    for i in range(n_pairs):
        weights = [math.exp(cosine(a[i].numpy(), row.numpy()) / temperature) for row in b]
        terms.append(-math.log(weights[i] / sum(weights)))
    result = info_nce(a, b, temperature).item()
    assert result == pytest.approx(np.mean(terms), rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("cells", [1, 12, 1 << 19])
def test_gradient_of_info_nce_whatever_is_held_at_a_time(monkeypatch, cells):
    monkeypatch.setattr("hnlmrec.losses.contrast._CPU_CELLS", cells)
    a, b = (x.double().requires_grad_() for x in tensors(3, (5, 3), (5, 3)))
    torch.autograd.gradcheck(lambda a, b: info_nce(a, b, 0.2), (a, b))
    logits = torch.cosine_similarity(a[:, None], b[None], dim=2) / 0.2
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(5))
    assert info_nce(a, b, 0.2).item() == pytest.approx(expected.item(), rel=1e-12)


def test_info_nce_at_a_temperature_whose_exponentials_overflow():
    a, b = (x.requires_grad_() for x in tensors(4, (6, 3), (6, 3)))
    info_nce(a, b, 0.001).backward()
    expected = torch.cosine_similarity(a[:, None], b[None], dim=2) / 0.001
    expected = torch.nn.functional.cross_entropy(expected, torch.arange(6))
    assert info_nce(a, b, 0.001).item() == pytest.approx(expected.item(), rel=1e-4)
    got = a.grad.clone(), b.grad.clone()
    a.grad = b.grad = None
    expected.backward()
    torch.testing.assert_close(got, (a.grad, b.grad), rtol=1e-3, atol=1e-2)


def test_info_nce_has_one_direction():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    e = math.exp(1)
    assert info_nce(a, b, 1.0).item() == pytest.approx(
        (math.log((e + 1) / e) + math.log(e + 1)) / 2
    )
    assert info_nce(b, a, 1.0).item() == pytest.approx(math.log(2))
