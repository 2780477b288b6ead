"""Where synthesised negatives stand, and when that is said to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlmrec.config import ModelConfig
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.collapse import (
    MEASURES,
    effective_rank,
    geometry_lines,
    hard_negative_geometry,
)
from hnlmrec.training.learner import build_learner
from synthetic import interactions as small_interactions

WIDTH = 12
SEMANTIC = {"name": "semantic", "base": {"name": "uniform"}}


@pytest.fixture(scope="module")
def interactions():
    return small_interactions()


def learner_of(interactions, folder, sampler=SEMANTIC, written: float = 1.0):
    generator = torch.Generator().manual_seed(3)
    store = NegativeStore.create(folder, interactions, WIDTH)
    rows = np.arange(int(written * interactions.train.nnz))
    store.write(rows, torch.randn(len(rows), WIDTH, generator=generator))
    artefacts = LanguageArtefacts(store, torch.eye(interactions.n_items, WIDTH))
    config = ModelConfig.model_validate(
        {
            "sampler": sampler,
            "backbone": {"name": "mf", "dim": 6},
            "alignment": {"hidden": 8, "weight": 0.1},
        }
    )
    return build_learner(config, interactions, 0, artefacts, torch.device("cpu"))


def answer_with(learner, vector_of):
    """Let the adapter give ``vector_of(its input)``, whatever its weights."""
    learner.semantic.adapter.forward = vector_of


def test_effective_rank_by_hand() -> None:
    assert effective_rank(torch.ones(5, 3)) == pytest.approx(1, abs=1e-4)
    assert effective_rank(torch.eye(4)) == pytest.approx(4)
    # singular values 3 and 1
    shares = np.array([0.75, 0.25])
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected)


def test_against_loops(interactions, tmp_path) -> None:
    learner = learner_of(interactions, tmp_path)
    got = hard_negative_geometry(learner, interactions, 7)
    assert tuple(got) == MEASURES
    view = learner.view().detach()
    users, items = interactions.pairs("train")
    index = torch.randint(len(users), (1024,), generator=torch.Generator().manual_seed(7))
    vectors, _ = learner.semantic.source.vectors(index)
    with torch.no_grad():
        hard = learner.semantic.adapter(vectors).double().numpy()
    u, i = view.users.double().numpy(), view.items.double().numpy()

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    pairs = [(u[users[k]], i[items[k]], h) for k, h in zip(index.tolist(), hard, strict=True)]
    assert got["hard_cosine"] == pytest.approx(
        np.mean([cosine(a, h) for a, _, h in pairs]), abs=1e-5
    )
    assert got["positive_cosine"] == pytest.approx(
        np.mean([cosine(a, b) for a, b, _ in pairs]), abs=1e-5
    )
    lengths = np.linalg.norm(hard, axis=1).mean() / np.linalg.norm(i, axis=1).mean()
    assert got["hard_norm"] == pytest.approx(lengths, rel=1e-4)
    assert 2 < got["hard_rank"] <= 6
    assert hard_negative_geometry(learner, interactions, 7) == got
    assert len(geometry_lines(got)) == 1


def test_one_vector_for_all_is_called_a_collapse(interactions, tmp_path) -> None:
    learner = learner_of(interactions, tmp_path)
    answer_with(learner, lambda vectors: torch.ones(len(vectors), 6))
    got = hard_negative_geometry(learner, interactions, 0)
    assert got["hard_rank"] == pytest.approx(1, abs=1e-3)
    assert any("collapsed" in line for line in geometry_lines(got))


def test_negatives_that_flee_their_users_are_called_so(interactions, tmp_path) -> None:
    learner = learner_of(interactions, tmp_path)
    with torch.no_grad():
        # users have the first half of the dimensions, negatives lie opposite to all of them
        learner.backbone.table.copy_(torch.rand(learner.backbone.table.shape))
    answer_with(learner, lambda vectors: -torch.rand(len(vectors), 6))
    lines = geometry_lines(hard_negative_geometry(learner, interactions, 0))
    assert any("away from their users" in line for line in lines)


def test_nothing_is_said_where_nothing_is_synthesised(interactions, tmp_path) -> None:
    plain = learner_of(interactions, tmp_path / "a", {"name": "dns"})
    assert hard_negative_geometry(plain, interactions, 0) == {}
    assert geometry_lines({}) == []
    unwritten = learner_of(interactions, tmp_path / "b", written=0.0)
    assert hard_negative_geometry(unwritten, interactions, 0) == {}
