"""Lazy Adam and row-wise Adagrad against slow forms, and where they are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hnlmrec.config import ModelConfig
from hnlmrec.errors import ConfigError
from hnlmrec.training import TrainedModel, build_learner, train
from hnlmrec.training.learner import epoch_batches, epoch_pairs
from hnlmrec.training.optimizer import LazyAdam, build_optimizer
from hnlmrec.training.trainer import run_epoch
from hnlmrec.training.whole_epoch import has_whole_epochs
from synthetic import interactions

CPU = torch.device("cpu")
MF = {"backbone": {"name": "mf", "dim": 20}, "sampler": {"name": "dns", "candidates": 3}}


def config(**changes):
    training = {"optimizer": "lazy_adam", "lr": 0.02, "batch_size": 48, "epochs": 6}
    training |= changes.pop("training", {})
    return ModelConfig.model_validate({**MF, "training": training, **changes})


@pytest.mark.parametrize("on_cpu", [True, False])
def test_steps_are_those_of_torchs_sparse_adam(on_cpu, monkeypatch):
    if not on_cpu:
        monkeypatch.setattr("hnlmrec.kernels.adam.on_cpu", lambda *tables: False)
    lazy = build_learner(config(), interactions(), 0, None, CPU)
    optimizer = build_optimizer(lazy)
    plain = build_learner(config(), interactions(), 0, None, CPU)
    sparse = torch.optim.SparseAdam([plain.backbone.table], lr=0.02)
    generators = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    order = torch.Generator().manual_seed(0)
    for batch in epoch_batches(interactions(), 48, order, CPU):
        lazy.step(batch, generators[0])
        optimizer.step()
        plain.zero_grad()
        loss, _ = plain.loss(batch, generators[1])
        loss.backward()
        plain.backbone.table.grad = plain.backbone.table.grad.to_sparse(1)
        sparse.step()
        # a gradient of next to nothing still moves a number by up to the learning rate
        torch.testing.assert_close(lazy.backbone.table, plain.backbone.table, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("negatives", [1, 3])
@pytest.mark.parametrize("batch_size", [7, 10_000])
def test_an_epoch_in_one_call_is_that_of_its_steps(negatives, batch_size, monkeypatch):
    monkeypatch.setattr("hnlmrec.training.whole_epoch._STEPS", 5)
    model = config(
        sampler={"name": "uniform"},
        training={"negatives": negatives, "batch_size": batch_size, "l2": 0.1},
    )
    tables, rows = [], []
    for whole in (True, False):
        learner = build_learner(model, interactions(), 0, None, CPU)
        optimizer = build_optimizer(learner)
        assert has_whole_epochs(learner, optimizer)
        if not whole:
            monkeypatch.setattr("hnlmrec.training.trainer.has_whole_epochs", lambda *_: False)
        rows.append([run_epoch(learner, optimizer, interactions(), 3, e, CPU) for e in (1, 2)])
        tables.append(learner.backbone.table.detach())
    # equal up to rounding: compilers may order operations otherwise where loops stand together
    torch.testing.assert_close(*tables, atol=2e-4, rtol=1e-4)
    for ours, plain in zip(*rows, strict=True):
        assert ours == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": {"name": "dns"}},
        {"sampler": {"name": "uniform", "guard": 0.1}},
        {"sampler": {"name": "uniform"}, "loss": {"name": "bce"}},
        {"sampler": {"name": "uniform"}, "training": {"optimizer": "adam"}},
        {"sampler": {"name": "uniform"}, "backbone": {"name": "lightgcn"}},
    ],
)
def test_other_models_have_no_whole_epochs(changes):
    learner = build_learner(config(**changes), interactions(), 0, None, CPU)
    optimizer = torch.optim.Adam(learner.parameters())
    if changes.get("training", {}).get("optimizer") != "adam":
        optimizer = LazyAdam(learner.backbone.table, 0.01)
    assert not has_whole_epochs(learner, optimizer)


@pytest.mark.parametrize("negatives", [1, 3])
def test_adagrad_does_a_step_a_triple_with_one_number_a_row(negatives, monkeypatch):
    monkeypatch.setattr("hnlmrec.training.whole_epoch._PAIRS", 7)
    data, l2, lr = interactions(), 0.1, 0.1
    training = {"optimizer": "adagrad", "lr": lr, "l2": l2, "negatives": negatives}
    model = config(sampler={"name": "uniform"}, training=training)
    learner = build_learner(model, data, 0, None, CPU)
    table = learner.backbone.table.detach().clone().requires_grad_()
    row = run_epoch(learner, build_optimizer(learner), data, 3, 1, CPU)

    squares, rankings, norms = torch.zeros(len(table)), [], []
    order, drawn = (torch.Generator().manual_seed(3 * 1_000_003 + 2 + k) for k in range(2))
    users, items, _ = epoch_pairs(data, order)
    for some_users, some_items in zip(users.split(7), items.split(7), strict=True):
        others = learner.sampler.pool.sample(some_users, negatives, drawn)
        for u, i, of_pair in zip(some_users, some_items, others, strict=True):
            for j in of_pair:
                rows = torch.stack([u, i + data.n_users, j + data.n_users])
                user, item, other = table[rows]
                rankings.append(-torch.nn.functional.logsigmoid(user @ item - user @ other))
                norms.append(l2 / 2 * (table[rows] ** 2).sum())
                (g,) = torch.autograd.grad(rankings[-1] + norms[-1], table)
                squares += (g**2).mean(dim=1)
                with torch.no_grad():
                    table[rows] -= lr / squares[rows].sqrt()[:, None] * g[rows]
    torch.testing.assert_close(learner.backbone.table, table, atol=1e-4, rtol=1e-4)
    for name, parts in (("ranking", rankings), ("l2", norms)):
        assert row[name] == pytest.approx(torch.stack(parts).mean().item(), rel=1e-4)


def test_rows_that_no_batch_touched_stay():
    learner = build_learner(config(), interactions(), 0, None, CPU)
    optimizer = build_optimizer(learner)
    before = learner.backbone.table.detach().clone()
    batch = next(epoch_batches(interactions(), 3, torch.Generator().manual_seed(0), CPU))
    learner.step(batch, torch.Generator().manual_seed(0))
    optimizer.step()
    changed = (learner.backbone.table != before).any(dim=1).nonzero().flatten()
    assert 0 < len(changed) <= 9
    assert set(batch.users.tolist()) <= set(changed.tolist())


@pytest.mark.parametrize(
    "changes",
    [{}, {"sampler": {"name": "uniform"}, "training": {"optimizer": "adagrad", "lr": 0.1}}],
)
def test_it_learns_and_an_interrupted_run_ends_like_one_that_was_not(changes, tmp_path: Path):
    class Stopped(Exception):
        pass

    def stop(text, done, total):
        if done == 5:
            raise Stopped

    model = config(**{**changes, "training": {"evaluate_every": 2, **changes.get("training", {})}})
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    train(model, interactions(), 0, None, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(model, interactions(), 0, None, tmp_path / "cut", stop)
    train(model, interactions(), 0, None, tmp_path / "cut")
    whole, cut = (TrainedModel.load(tmp_path / name).view for name in ("whole", "cut"))
    assert torch.equal(whole.users, cut.users)
    assert torch.equal(whole.items, cut.items)
    history = json.loads((tmp_path / "whole" / "report.json").read_text())["history"]
    assert history[-1]["ranking"] < history[0]["ranking"] - 0.02


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"name": "lightgcn"}},
        {"loss": {"name": "sl"}},
        {"sampler": {"name": "shared", "size": 8}},
        {"sampler": {"name": "mixgcf"}},
    ],
)
def test_it_is_refused_where_a_step_touches_all_rows(changes):
    learner = build_learner(config(**changes), interactions(), 0, None, CPU)
    with pytest.raises(ConfigError, match=r"training\.optimizer.*set it to adam"):
        build_optimizer(learner)


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": {"name": "lightgcn"}},
        {"loss": {"name": "bce"}},
        {"sampler": {"name": "dns"}},
        {"sampler": {"name": "uniform", "guard": 0.1}},
        {"training": {"device": "meta"}},
    ],
)
def test_adagrad_is_refused_where_triples_cannot_be_compiled(changes, monkeypatch):
    if changes.get("training"):
        monkeypatch.setattr("hnlmrec.training.optimizer.on_cpu", lambda *tables: False)
    training = {"optimizer": "adagrad"}
    model = config(**{"sampler": {"name": "uniform"}, **changes, "training": training})
    with pytest.raises(ConfigError, match=r"training\.optimizer.*set it to adam"):
        build_optimizer(build_learner(model, interactions(), 0, None, CPU))
