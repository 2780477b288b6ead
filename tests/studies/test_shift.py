"""How hard a sampler's negatives are, and how many of the hard ones are false."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlmrec.config import ModelConfig
from hnlmrec.negatives import EmbeddingView
from hnlmrec.studies.shift import EDGES, conditional_shift, percentiles
from hnlmrec.training.learner import build_learner
from hnlmrec.training.model import TrainedModel
from synthetic import interactions

DATA = interactions()


def view(seed: int = 0) -> EmbeddingView:
    random = torch.Generator().manual_seed(seed)
    return EmbeddingView(
        torch.randn(DATA.n_users, 4, generator=random),
        torch.randn(DATA.n_items, 4, generator=random),
    )


def test_percentiles_against_a_loop() -> None:
    scoring = view()
    random = np.random.default_rng(1)
    users = np.repeat(np.arange(DATA.n_users), 2)
    items = np.full((len(users), 3), -1)
    for row, user in enumerate(users):
        free = np.setdiff1d(np.arange(DATA.n_items), DATA.train[[user]].indices)
        items[row, :2] = random.choice(free, 2)
    found = percentiles(scoring, users, items, DATA)
    for row, user in enumerate(users):
        free = np.setdiff1d(np.arange(DATA.n_items), DATA.train[[user]].indices)
        scores = (scoring.items @ scoring.users[user]).numpy()
        for column in (0, 1):
            below = (scores[free] < scores[items[row, column]]).mean()
            assert found[row, column] == pytest.approx(below)
    assert np.isnan(found[:, 2]).all()


def shift(sampler: dict[str, object], seed: int = 0):
    config = ModelConfig.model_validate({"sampler": sampler, "backbone": {"dim": 4}})
    learner = build_learner(config, DATA, 0, None, torch.device("cpu"))
    with torch.no_grad():
        trained = TrainedModel(learner.view(), learner.state_dict())
    return conditional_shift(trained, config, DATA, None, seed)


def test_harder_samplers_draw_from_harder_bins() -> None:
    uniform, dns = shift({"name": "uniform"}), shift({"name": "dns", "candidates": 8})
    for frame in (uniform, dns):
        assert frame["share"].sum() == pytest.approx(1)
        assert frame["negatives"].sum() == DATA.train.nnz
        assert frame["low"].to_list() == list(EDGES[:-1])
    # of a uniform sampler about half lies in the easier half
    assert uniform["share"][0] == pytest.approx(0.5, abs=0.06)
    assert dns["share"][0] < 0.05
    assert dns["share"][2:].sum() > uniform["share"][2:].sum()


def test_the_false_are_counted_in_their_bin() -> None:
    frame = shift({"name": "uniform"})
    held_out = (DATA.valid + DATA.test).nnz
    free = DATA.n_users * DATA.n_items - DATA.train.nnz
    false = (frame["false"].fill_null(0) * frame["negatives"]).sum() / DATA.train.nnz
    assert false == pytest.approx(held_out / free, rel=0.35)
    assert frame.filter(negatives=0)["false"].is_null().all()
