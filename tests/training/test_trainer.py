from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hnlmrec.config import BackboneConfig, ModelConfig, TrainingConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ConfigError, HnlmrecError
from hnlmrec.evaluation import evaluate
from hnlmrec.negatives.scoring import score_batch
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.training import LanguageArtefacts, TrainedModel, build_learner, pretrain, train
from hnlmrec.training.learner import epoch_batches
from synthetic import interactions as small_interactions

WIDTH = 6


class _Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def interactions() -> Interactions:
    return small_interactions()


@pytest.fixture
def language(interactions: Interactions, tmp_path: Path) -> LanguageArtefacts:
    return _language(interactions, tmp_path / "store")


def _language(
    interactions: Interactions, folder: Path, written: float = 1.0, seed: int = 0
) -> LanguageArtefacts:
    generator = torch.Generator().manual_seed(seed)
    store = NegativeStore.create(folder, interactions, WIDTH)
    rows = np.arange(int(written * interactions.train.nnz))
    store.write(rows, torch.randn(len(rows), WIDTH, generator=generator))
    vectors = torch.randn(interactions.n_items, WIDTH, generator=generator)
    return LanguageArtefacts(store, torch.nn.functional.normalize(vectors, dim=1))


def _config(sampler: dict[str, object] | None = None, **changes: object) -> ModelConfig:
    tree = {
        "sampler": sampler or {"name": "dns", "candidates": 4},
        "backbone": {"dim": 8},
        "training": {"epochs": 6, "batch_size": 64, "evaluate_every": 2, "lr": 0.01},
        "alignment": {"weight": 0.1, "hidden": 8} if sampler else {},
    }
    return ModelConfig.model_validate({**tree, **changes})


SEMANTIC = {"name": "semantic", "base": {"name": "dns", "candidates": 4}, "alpha": 0.3}


def _train(
    config: ModelConfig,
    interactions: Interactions,
    folder: Path,
    language: LanguageArtefacts | None = None,
    seed: int = 0,
    progress=None,
) -> TrainedModel:
    folder.mkdir(parents=True, exist_ok=True)
    train(config, interactions, seed, language, folder, progress)
    return TrainedModel.load(folder)


def test_the_report_says_where_synthesised_negatives_stand(
    interactions: Interactions, tmp_path: Path
) -> None:
    language = _language(interactions, tmp_path / "store")
    report = train(_config(SEMANTIC), interactions, 0, language, tmp_path)
    measured = [row for row in report.history if "hard_rank" in row]
    assert [row["epoch"] for row in measured] == [2, 4, 6]
    best = next(row for row in measured if row["epoch"] == report.best_epoch)
    assert report.geometry.items() <= best.items()
    assert any("effective rank" in line for line in report.lines())
    plain = train(_config(), interactions, 0, None, tmp_path / "plain")
    assert plain.geometry == {}
    assert len(plain.lines()) == 1


@pytest.mark.parametrize("backbone", ["mf", "lightgcn"])
def test_training_learns_and_keeps_the_epoch_best_on_validation(
    backbone: str, interactions: Interactions, tmp_path: Path
) -> None:
    config = _config(
        backbone={"name": backbone, "dim": 8},
        training={"epochs": 30, "batch_size": 64, "evaluate_every": 2, "lr": 0.02},
    )
    trained = _train(config, interactions, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    measured = [row for row in report["history"] if "valid_recall" in row]
    best = max(row["valid_recall"] for row in measured)
    assert report["valid_recall"] == best
    assert report["best_epoch"] == next(r["epoch"] for r in measured if r["valid_recall"] == best)
    untrained = build_learner(config, interactions, 0, None, torch.device("cpu"))
    with torch.no_grad():
        before = evaluate(untrained.backbone.embeddings(), interactions, "test", [10]).means()
    after = evaluate(trained.view, interactions, "test", [10]).means()
    assert after["recall@10"] > before["recall@10"] + 0.1


def test_two_runs_of_one_seed_are_the_same_and_of_two_are_not(
    interactions: Interactions, language: LanguageArtefacts, tmp_path: Path
) -> None:
    config = _config(SEMANTIC)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _train(config, interactions, tmp_path / name, language, seed)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_synthesised_negatives_among_the_texts_change_the_training_and_noise_in_their_place_too(
    interactions: Interactions, language: LanguageArtefacts, tmp_path: Path
) -> None:
    alignment = {"hidden": 8, "interaction_weight": 0.5}
    found = {}
    for source in (None, "synthesised", "noise"):
        sampler = SEMANTIC["base"]
        if source:
            sampler = {**SEMANTIC, "enter": "text", "weight": 20, "source": source}
        config = _config(sampler, alignment=alignment)
        found[source] = _train(config, interactions, tmp_path / str(source), language)
    items = [trained.view.items for trained in found.values()]
    assert not torch.allclose(items[0], items[1], atol=1e-4)
    assert not torch.allclose(items[1], items[2], atol=1e-4)


@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_an_interrupted_run_ends_like_one_that_was_not(
    epoch: int, interactions: Interactions, language: LanguageArtefacts, tmp_path: Path
) -> None:
    config = _config(SEMANTIC)
    whole = _train(config, interactions, tmp_path / "whole", language)

    def stop(text: str, done: int, total: int) -> None:
        if done == epoch:
            raise _Stopped

    with pytest.raises(_Stopped):
        _train(config, interactions, tmp_path / "cut", language, progress=stop)
    resumed = _train(config, interactions, tmp_path / "cut", language)
    assert torch.equal(whole.view.users, resumed.view.users)
    for name, value in whole.state.items():
        assert torch.equal(value, resumed.state[name]), name
    reports = [json.loads((tmp_path / n / "report.json").read_text()) for n in ("whole", "cut")]
    assert reports[0]["history"] == reports[1]["history"]


def test_test_labels_leave_no_trace_in_training(interactions: Interactions, tmp_path: Path) -> None:
    other = replace(interactions, test=interactions.test[::-1])
    _train(_config(), interactions, tmp_path / "a")
    _train(_config(), other, tmp_path / "b")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_pretraining_reads_neither_validation_nor_test(interactions: Interactions) -> None:
    other = replace(interactions, valid=interactions.test, test=interactions.valid * 0)
    views = [
        pretrain(BackboneConfig(dim=8), TrainingConfig(batch_size=64), data, 2, 0)
        for data in (interactions, other)
    ]
    assert torch.equal(views[0].users, views[1].users)
    assert torch.equal(views[0].items, views[1].items)


def test_the_adapter_changes_while_training(
    interactions: Interactions, language: LanguageArtefacts, tmp_path: Path
) -> None:
    config = _config(SEMANTIC)
    start = build_learner(config, interactions, 0, language, torch.device("cpu")).state_dict()
    trained = _train(config, interactions, tmp_path / "run", language)
    for name in ("adapter.inner.weight", "adapter.outer.weight"):
        assert not torch.allclose(start[name], trained.state[name], atol=1e-4), name


@pytest.mark.parametrize("source", ["noise", "shuffled"])
def test_another_source_of_negatives_changes_the_result(
    source: str, interactions: Interactions, language: LanguageArtefacts, tmp_path: Path
) -> None:
    real = _train(_config(SEMANTIC), interactions, tmp_path / "real", language)
    config = _config({**SEMANTIC, "source": source})
    control = _train(config, interactions, tmp_path / "control", language)
    assert (real.view.users - control.view.users).abs().max() > 1e-3


def test_missing_negatives_are_counted_and_fall_back_to_the_base_sampler(
    interactions: Interactions, tmp_path: Path
) -> None:
    n = interactions.train.nnz
    empty = _language(interactions, tmp_path / "empty", written=0)
    config = _config(SEMANTIC)
    trained = _train(config, interactions, tmp_path / "run", empty)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["missing_negatives"] == n * report["epochs"] == report["pairs_trained"]
    # with no negative at all, alpha has nothing to weigh: the result is that of alpha 0
    without = _config({**SEMANTIC, "alpha": 0.0, "contrastive_weight": 0.0})
    full = _language(interactions, tmp_path / "full")
    full = replace(full, item_vectors=empty.item_vectors)
    base = _train(without, interactions, tmp_path / "base", full)
    torch.testing.assert_close(trained.view.users, base.view.users)
    half = _language(interactions, tmp_path / "half", written=0.5)
    _train(config, interactions, tmp_path / "run2", half)
    report = json.loads((tmp_path / "run2" / "report.json").read_text())
    assert report["missing_negatives"] == (n - n // 2) * report["epochs"]


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_the_ranking_loss_reaches_the_adapter_only_when_told(
    stop_gradient: bool, interactions: Interactions, language: LanguageArtefacts
) -> None:
    sampler = {**SEMANTIC, "stop_gradient": stop_gradient, "contrastive_weight": 0.0}
    config = _config(sampler)
    learner = build_learner(config, interactions, 0, language, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    batch = next(epoch_batches(interactions, 64, generator, torch.device("cpu")))
    view = learner.view()
    negatives = learner.sample(batch, view, generator)
    learner.ranking_loss(*score_batch(batch, negatives, view)).backward()
    assert learner.adapter is not None
    reached = learner.adapter.inner.weight.grad is not None
    assert reached != stop_gradient
    assert learner.backbone.table.grad.abs().sum() > 0


def test_alignment_can_spare_the_item_embeddings(
    interactions: Interactions, language: LanguageArtefacts
) -> None:
    for detach in (True, False):
        config = _config(SEMANTIC, alignment={"weight": 1.0, "detach_items": detach})
        learner = build_learner(config, interactions, 0, language, torch.device("cpu"))
        assert learner.alignment is not None
        ten = torch.arange(10)
        learner.alignment.loss(ten, ten, learner.backbone.embeddings()).backward()
        assert (learner.backbone.table.grad is None) == detach
        assert learner.alignment.adapter.inner.weight.grad.abs().sum() > 0


def test_the_parts_of_the_loss_add_up(
    interactions: Interactions, language: LanguageArtefacts
) -> None:
    learner = build_learner(_config(SEMANTIC), interactions, 0, language, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    batch = next(epoch_batches(interactions, 64, generator, torch.device("cpu")))
    total, parts = learner.loss(batch, generator)
    assert set(parts) == {"ranking", "l2", "contrastive", "alignment", "missing"}
    summed = sum(value for name, value in parts.items() if name != "missing")
    torch.testing.assert_close(total.detach(), summed)


def test_an_epoch_visits_every_pair_once_with_its_position(interactions: Interactions) -> None:
    batches = list(
        epoch_batches(interactions, 50, torch.Generator().manual_seed(0), torch.device("cpu"))
    )
    index = torch.cat([batch.index for batch in batches]).numpy()
    assert sorted(index) == list(range(interactions.train.nnz))
    users, items = interactions.pairs()
    assert (torch.cat([b.users for b in batches]).numpy() == users[index]).all()
    assert (torch.cat([b.positives for b in batches]).numpy() == items[index]).all()


def test_a_model_that_needs_the_language_stages_says_so(
    interactions: Interactions, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"semantic.*hnlmrec synthesize"):
        _train(_config(SEMANTIC), interactions, tmp_path)


def test_divergence_stops_with_advice(interactions: Interactions, tmp_path: Path) -> None:
    config = _config(training={"epochs": 3, "lr": 1e30, "batch_size": 64})
    with pytest.raises(HnlmrecError, match=r"not finite in epoch.*lower training\.lr"):
        _train(config, interactions, tmp_path)
