from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional as F

from hnlmrec.config import SupervisionConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.negatives import EmbeddingView
from hnlmrec.synthesis.finetune import SynthesisInputs
from hnlmrec.synthesis.supervision import NONE, Supervision, hardest_items, nearest_items
from synthetic import N_ITEMS

STRATEGIES = ("cf_semantic", "cf", "semantic", "semantic_distinct", "random")


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    return F.normalize(torch.randn(N_ITEMS, 6, generator=torch.Generator().manual_seed(1)), dim=1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_target_is_never_a_training_item_and_a_seed_decides_it(
    strategy: str, inputs: SynthesisInputs, vectors: torch.Tensor
) -> None:
    config = SupervisionConfig(strategy=strategy, top_k=5)
    train = inputs.interactions.train
    supervision = Supervision(config, inputs.view, vectors, train)
    users, items = (torch.from_numpy(x).long() for x in inputs.interactions.pairs("train"))
    draws = [supervision.targets(users, items, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    dense = train.toarray()
    assert not dense[users.numpy(), draws[0].numpy()].any()


def test_hardest_items_are_the_best_below_the_margin(inputs: SynthesisInputs) -> None:
    train, margin, k = inputs.interactions.train, 0.1, 4
    found = hardest_items(inputs.view, train, k, margin)
    scores = (inputs.view.users @ inputs.view.items.T).numpy()
    seen = train.toarray().astype(bool)
    for user in range(len(scores)):
        mean = scores[user, seen[user]].mean()
        allowed = np.flatnonzero(~seen[user] & (scores[user] <= mean - margin * abs(mean)))
        best = allowed[np.argsort(-scores[user, allowed])][:k]
        row = found[user][found[user] != NONE].tolist()
        assert row == best.tolist()


def test_items_scored_like_the_users_own_are_left_out_as_likely_false_negatives() -> None:
    # one user with item 0; items 1 (scored above), 2 (within the margin), 3 (below it)
    train = Interactions.from_pairs(
        _ids(1), _ids(4), *(np.array([0], np.int32) for _ in range(2)), np.array([0])
    ).train
    view = EmbeddingView(torch.ones(1, 1), torch.tensor([[1.0], [1.2], [0.95], [0.5]]))
    assert hardest_items(view, train, 3, 0.1)[0].tolist() == [3, NONE, NONE]
    assert hardest_items(view, train, 3, 0.0)[0].tolist() == [2, 3, NONE]


def test_cf_semantic_prefers_candidates_near_in_meaning(
    inputs: SynthesisInputs, vectors: torch.Tensor
) -> None:
    users, items = (torch.from_numpy(x).long() for x in inputs.interactions.pairs("train"))

    def similarity(strategy: str, temperature: float) -> float:
        config = SupervisionConfig(strategy=strategy, top_k=8, temperature=temperature)
        supervision = Supervision(config, inputs.view, vectors, inputs.interactions.train)
        targets = supervision.targets(users, items, torch.Generator().manual_seed(0))
        return float((vectors[targets] * vectors[items]).sum(dim=1).mean())

    assert similarity("cf_semantic", 0.05) > similarity("cf_semantic", 10.0) + 0.2
    assert similarity("cf_semantic", 0.05) > similarity("cf", 0.05) + 0.2


def test_distinct_targets_are_near_in_meaning_and_low_in_score(
    inputs: SynthesisInputs, vectors: torch.Tensor
) -> None:
    train, k = inputs.interactions.train, 9
    config = SupervisionConfig(strategy="semantic_distinct", top_k=k, temperature=10.0)
    supervision = Supervision(config, inputs.view, vectors, train)
    users, items = (torch.from_numpy(x).long() for x in inputs.interactions.pairs("train"))
    scores = (inputs.view.users @ inputs.view.items.T).numpy()
    near, seen = nearest_items(vectors, k).numpy(), train.toarray() > 0
    drawn = [
        supervision.targets(users, items, torch.Generator().manual_seed(seed)) for seed in range(20)
    ]
    for pair, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        free = [other for other in near[item] if not seen[user, other]]
        free.sort(key=lambda other: scores[user, other])
        # the lower one of an even number's two middle ones is the median
        assert {int(targets[pair]) for targets in drawn} <= set(free[: (len(free) + 1) // 2])


def test_nearest_items_agree_with_a_full_sort(vectors: torch.Tensor) -> None:
    cosines = (vectors @ vectors.T).numpy()
    for item, row in enumerate(nearest_items(vectors, 3).tolist()):
        order = [other for other in np.argsort(-cosines[item]) if other != item]
        assert row == order[:3]


def test_a_user_without_candidates_gets_some_uninteracted_item() -> None:
    train = Interactions.from_pairs(
        _ids(1), _ids(3), *(np.array([0], np.int32) for _ in range(2)), np.array([0])
    ).train
    view = EmbeddingView(torch.ones(1, 1), torch.tensor([[1.0], [5.0], [5.0]]))
    supervision = Supervision(SupervisionConfig(), view, torch.eye(3), train)
    zeros = torch.zeros(20, dtype=torch.int64)
    targets = supervision.targets(zeros, zeros, torch.Generator().manual_seed(0))
    assert set(targets.tolist()) == {1, 2}


def _ids(n: int) -> pl.Series:
    return pl.Series([str(i) for i in range(n)])
