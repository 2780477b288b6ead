"""How hard and how near in meaning the targets of supervision are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hnlmrec.config import SupervisionConfig
from hnlmrec.synthesis.finetune import SynthesisInputs
from hnlmrec.synthesis.supervision import Supervision
from hnlmrec.synthesis.targets import TargetReport, describe_targets
from synthetic import N_ITEMS


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    return F.normalize(torch.randn(N_ITEMS, 6, generator=torch.Generator().manual_seed(1)), dim=1)


def describe(inputs: SynthesisInputs, vectors: torch.Tensor, choose) -> TargetReport:
    users, items = (torch.from_numpy(x).long() for x in inputs.interactions.pairs("train"))
    targets = choose(users, items)
    generator = torch.Generator().manual_seed(0)
    return describe_targets(
        users, items, targets, inputs.view, vectors, inputs.interactions, generator
    )


def supervised(inputs: SynthesisInputs, vectors: torch.Tensor, strategy: str):
    config = SupervisionConfig(strategy=strategy, top_k=3, margin=0.0)
    supervision = Supervision(config, inputs.view, vectors, inputs.interactions.train)
    return lambda users, items: supervision.targets(users, items, torch.Generator().manual_seed(0))


def test_standings_against_all_uninteracted_items(inputs, vectors, monkeypatch) -> None:
    # so many draws that the sample is nearly all there are
    monkeypatch.setattr("hnlmrec.synthesis.targets._BESIDE", 20_000)
    choose = supervised(inputs, vectors, "cf_semantic")
    report = describe(inputs, vectors, choose)
    users, items = (torch.from_numpy(x).long() for x in inputs.interactions.pairs("train"))
    targets = choose(users, items)
    dense = inputs.interactions.train.toarray() > 0
    scores = (inputs.view.users @ inputs.view.items.T).numpy()
    near = (vectors @ vectors.T).numpy()
    liked = np.stack([vectors.numpy()[row].mean(axis=0) for row in dense])
    standing = {"cf": [], "text_of_user": [], "text_of_item": []}
    above = []
    for user, item, target in zip(*(x.tolist() for x in (users, items, targets)), strict=True):
        open_ = ~dense[user]
        for name, row in (
            ("cf", scores[user]),
            ("text_of_user", vectors.numpy() @ liked[user]),
            ("text_of_item", near[item]),
        ):
            others = row[open_]
            standing[name].append(
                (others < row[target]).mean() + (others == row[target]).mean() / 2
            )
        above.append(scores[user, target] > scores[user, dense[user]].mean())
    for name, shares in standing.items():
        expected = np.quantile(shares, [0.1, 0.5, 0.9])
        np.testing.assert_allclose(getattr(report, name), expected, atol=0.03)
    assert report.above_positives == pytest.approx(np.mean(above))
    assert report.pairs == len(users)
    assert report.distinct == len(set(targets.tolist()))
    assert report.items == N_ITEMS


def test_strategies_look_as_they_are_called(inputs, vectors) -> None:
    reports = {
        strategy: describe(inputs, vectors, supervised(inputs, vectors, strategy))
        for strategy in ("random", "cf", "semantic")
    }
    assert reports["random"].cf[1] == pytest.approx(0.5, abs=0.1)
    assert reports["random"].text_of_item[1] == pytest.approx(0.5, abs=0.1)
    # those that score above the user's own items are left out as likely false
    assert reports["cf"].above_positives == 0 < reports["random"].above_positives
    assert reports["semantic"].text_of_item[1] > 0.9
    assert "percentiles among un-interacted items" in reports["cf"].lines()[0]
