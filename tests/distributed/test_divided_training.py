"""What several processes of a training do beside its steps: go on, stop, refuse, evaluate."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from hnlmrec.config import ModelConfig
from hnlmrec.distributed import World
from hnlmrec.distributed import columns as columns_module
from hnlmrec.distributed.columns import initial_columns, whole_on_first, whole_rows
from hnlmrec.errors import ConfigError, HnlmrecError
from hnlmrec.evaluation import evaluate
from hnlmrec.negatives import EmbeddingView
from hnlmrec.training import pretrain, train
from hnlmrec.training.division import Division
from hnlmrec.training.learner import epoch_batches
from hnlmrec.training.trainer import CHECKPOINT
from hnlmrec.training.watch import everywhere
from synthetic import interactions
from world_cases import together

SIZE, DIM = 3, 8


class _Stopped(Exception):
    pass


def _model(**changes: Any) -> ModelConfig:
    tree = {
        "sampler": {"name": "dns", "candidates": 4},
        "backbone": {"dim": DIM, "layers": 2},
        "training": {"epochs": 5, "batch_size": 64, "evaluate_every": 2, "lr": 0.01},
    }
    return ModelConfig.model_validate({**tree, **changes})


def _lazy() -> ModelConfig:
    training = {**_model().training.model_dump(), "optimizer": "lazy_adam"}
    return _model(backbone={"name": "mf", "dim": DIM}, training=training)


def _stop_after(last: int, text: str, epoch: int, epochs: int) -> None:
    if epoch == last:
        raise _Stopped


def _view(summed_over: World | None = None) -> EmbeddingView:
    data = interactions()
    table = torch.randn(
        data.n_users + data.n_items, DIM, generator=torch.Generator().manual_seed(3)
    )
    if summed_over is None:
        return EmbeddingView.of_table(table, data.n_users)
    own = table[:, summed_over.share(DIM)].contiguous()
    users, items = own[: data.n_users], own[data.n_users :]
    return EmbeddingView(users, items, table=own, summed_over=summed_over)


def _work(world: World, root: Path) -> None:
    """All that the tests below look at, in one world, as processes take long to start."""
    data, seen = interactions(), {}
    for name, model, parallel in (
        ("rows", _model(), "data"),
        ("columns", _model(), "columns"),
        ("lazy-rows", _lazy(), "data"),
        ("lazy-columns", _lazy(), "columns"),
    ):
        (root / name).mkdir(exist_ok=True)
        world.wait()
        with pytest.raises(_Stopped):
            train(model, data, 0, None, root / name, partial(_stop_after, 4), world, parallel)
    for parallel in ("data", "columns"):
        view = pretrain(_model().backbone, _model().training, data, 2, 0, None, world, parallel)
        if world.is_first:
            torch.save((view.users, view.items), root / f"pretrained-{parallel}")
    for name, found in (("rows", _view()), ("columns", _view(world))):
        rows = evaluate(found, data, "valid", [5, 10], 3, world)
        seen[f"evaluation-{name}"] = rows.frame.equals(
            evaluate(_view(), data, "valid", [5, 10], 3).frame
        )
    seen["refused"] = [_refusal(world, *case) for case in _refused()]
    seen["diverging"] = _message(
        lambda: train(_wild(), data, 0, None, root, None, world, "columns")
    )
    seen["one fails"] = _message(lambda: everywhere(world, partial(_fail_in, world, 1)))
    own = torch.arange(5.0 * DIM).view(5, DIM)[:, world.share(DIM)]
    seen["all columns"] = whole_rows(own, DIM, world).flatten().tolist()
    columns_module._BLOCK = 2
    seen["on the first"] = whole_on_first(own, DIM, world).flatten().tolist()
    (root / f"seen{world.rank}.json").write_text(json.dumps(seen))


def _wild() -> ModelConfig:
    return _model(training={"epochs": 2, "lr": 1e30, "batch_size": 64})


def _fail_in(world: World, rank: int) -> None:
    if world.rank == rank:
        raise HnlmrecError("this one is broken")


def _message(work: Any) -> str:
    try:
        work()
    except HnlmrecError as error:
        return str(error)
    return ""


def _refused() -> list[tuple[dict[str, Any], str]]:
    adagrad = {"optimizer": "adagrad", "lr": 0.1}
    return [
        ({"backbone": {"name": "simgcl"}}, "columns"),
        ({"loss": {"name": "sl"}}, "columns"),
        ({"sampler": {"name": "mixgcf"}}, "columns"),
        ({"backbone": {"dim": 2}}, "columns"),
        ({"backbone": {"name": "mf"}, "sampler": {"name": "uniform"}, "training": adagrad}, "data"),
    ]


def _refusal(world: World, changes: dict[str, Any], parallel: Any) -> str:
    try:
        train(_model(**changes), interactions(), 0, None, Path("none"), None, world, parallel)
    except ConfigError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("divided")
    together(SIZE, _work, folder)
    return folder


@pytest.fixture(scope="module")
def seen(root: Path) -> list[dict[str, Any]]:
    return [json.loads((root / f"seen{rank}.json").read_text()) for rank in range(SIZE)]


@pytest.mark.parametrize("name", ["rows", "columns", "lazy-rows", "lazy-columns"])
def test_one_process_goes_on_where_several_stopped(root: Path, name: str, tmp_path: Path) -> None:
    model, data = _lazy() if "lazy" in name else _model(), interactions()
    assert (root / name / CHECKPOINT).exists()
    went_on = train(model, data, 0, None, root / name)
    whole = train(model, data, 0, None, tmp_path)
    assert [row["epoch"] for row in went_on.history] == [row["epoch"] for row in whole.history]
    models = [load_file(folder / "model.safetensors") for folder in (root / name, tmp_path)]
    assert models[0].keys() == models[1].keys()
    for key, value in models[1].items():
        assert_close(models[0][key], value, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("parallel", ["data", "columns"])
def test_pretraining_gives_the_first_process_all_columns(root: Path, parallel: str) -> None:
    found = torch.load(root / f"pretrained-{parallel}")
    alone = pretrain(_model().backbone, _model().training, interactions(), 2, 0)
    assert_close(found, (alone.users, alone.items), atol=1e-4, rtol=1e-3)


def test_an_evaluation_is_exact_in_every_process(seen: list[dict[str, Any]]) -> None:
    for one in seen:
        assert one["evaluation-rows"]
        assert one["evaluation-columns"]


def test_what_cannot_be_divided_is_refused_everywhere(seen: list[dict[str, Any]]) -> None:
    assert seen[0]["refused"] == seen[1]["refused"] == seen[2]["refused"]
    by_kind = seen[0]["refused"]
    assert "simgcl cannot be trained by columns" in by_kind[0]
    assert all("this model cannot be trained by columns" in text for text in by_kind[1:3])
    assert "3 processes cannot share 2 columns out" in by_kind[3]
    assert "adagrad" in by_kind[4]
    assert all("To mend it" in text for text in by_kind)


def test_what_is_not_finite_stops_every_process(seen: list[dict[str, Any]]) -> None:
    assert all("training" in one["diverging"] for one in seen)
    assert "this one is broken" in seen[1]["one fails"]
    assert all("another process stopped" in seen[rank]["one fails"] for rank in (0, 2))


def test_columns_are_put_side_by_side(seen: list[dict[str, Any]]) -> None:
    every = list(range(5 * DIM))
    assert all(one["all columns"] == every for one in seen)
    assert [one["on the first"] for one in seen] == [every, [], []]


@pytest.mark.parametrize(("rows", "dim"), [(3, 5), (50, 7), (64, 3), (70, 13), (129, 8)])
def test_initial_columns_are_those_of_one_table(
    rows: int, dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns_module, "_BLOCK", 16)
    one, other = (torch.Generator().manual_seed(1) for _ in range(2))
    whole = torch.randn(rows, dim, generator=one) * 0.1
    found = initial_columns((rows, dim), slice(1, 3), 0.1, other)
    assert torch.equal(found, whole[:, 1:3])
    assert torch.equal(one.get_state(), other.get_state())


def test_parts_weigh_as_their_pairs_do() -> None:
    generator = torch.Generator().manual_seed(0)
    batch = next(epoch_batches(interactions(), 64, generator, torch.device("cpu")))
    each = [Division(World(rank, SIZE)) for rank in range(SIZE)]
    parts = [one.part(batch) for one in each]
    assert torch.equal(torch.cat([part.users for part in parts]), batch.users)
    weights = [one.weight(part) for one, part in zip(each, parts, strict=True)]
    assert sum(weights) == pytest.approx(1)
    few = epoch_batches(interactions(), 2 * SIZE - 1, generator, torch.device("cpu"))
    batch = next(few)
    assert all(one.part(batch) is batch for one in each)
    assert sum(one.weight(batch) for one in each) == pytest.approx(1)
