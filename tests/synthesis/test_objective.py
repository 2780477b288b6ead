from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.synthesis.objective import OBJECTIVES, contrastive_step


def _case(seed: int, n: int = 6) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(9, 5, generator=generator), dim=1)
    queries = torch.randn(n, 5, generator=generator)
    targets = torch.randint(9, (n,), generator=generator)
    items = (targets + 1 + torch.randint(8, (n,), generator=generator)) % 9
    return queries, targets, items, vectors


def _cosines(queries: torch.Tensor, vectors: torch.Tensor) -> np.ndarray:
    q, v = queries.numpy().astype(float), vectors.numpy().astype(float)
    return (q / np.linalg.norm(q, axis=1, keepdims=True)) @ v.T


@given(st.integers(0, 50))
def test_log_sigmoid_is_the_papers_double_sum(seed: int) -> None:
    queries, targets, items, vectors = _case(seed)
    loss, _ = contrastive_step("log_sigmoid", queries, targets, items, vectors, 0.5)
    cosines, terms = _cosines(queries, vectors), []
    for b, target in enumerate(targets.tolist()):
        for other in items.tolist():
            if other != target:
                x = (cosines[b, target] - cosines[b, other]) / 0.5
                terms.append(-math.log(1 / (1 + math.exp(-x))))
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)


@given(st.integers(0, 50))
def test_infonce_is_the_softmax_over_targets_and_items(seed: int) -> None:
    queries, targets, items, vectors = _case(seed)
    loss, _ = contrastive_step("infonce", queries, targets, items, vectors, 0.5)
    cosines, terms = np.exp(_cosines(queries, vectors) / 0.5), []
    for b, target in enumerate(targets.tolist()):
        below = sum(cosines[b, p] for p in targets.tolist())
        below += sum(cosines[b, n] for n in items.tolist() if n != target)
        terms.append(-math.log(cosines[b, target] / below))
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_diagnostics_of_perfect_queries() -> None:
    vectors = torch.eye(6)
    targets, items = torch.arange(3), torch.arange(3, 6)
    _, measures = contrastive_step("log_sigmoid", vectors[:3] * 7, targets, items, vectors, 0.05)
    assert measures["margin"] == pytest.approx(1)
    assert measures["accuracy"] == 1
    assert measures["distinct"] == 1
    assert measures["mi_bound"] == pytest.approx(math.log(3), abs=1e-4)


def test_collapsed_queries_show_as_few_distinct_nearest_items() -> None:
    vectors = torch.eye(8)
    queries = vectors[:1].expand(4, -1)
    measures = contrastive_step(
        "infonce", queries, torch.arange(4), torch.arange(4, 8), vectors, 0.05
    )[1]
    assert measures["distinct"] == 0.25
    assert measures["mi_bound"] < 0


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_descent_moves_queries_to_their_targets_and_from_their_items(name: str) -> None:
    queries, targets, items, vectors = _case(3)
    queries.requires_grad_(True)
    optimizer = torch.optim.SGD([queries], lr=0.5)
    before = contrastive_step(name, queries, targets, items, vectors, 0.2)[1]
    for _ in range(20):
        loss, _ = contrastive_step(name, queries, targets, items, vectors, 0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = contrastive_step(name, queries, targets, items, vectors, 0.2)[1]
    assert after["margin"] > before["margin"] + 0.1
