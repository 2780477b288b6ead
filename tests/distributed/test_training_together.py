"""Worlds of 1, 2 and 3 processes train the same models, whatever the processes divide.

Sums of parts differ from sums in one piece in their last bits, and training carries that on: after
three epochs on data of this size parameters agree to 1e-4, and losses to a thousandth.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from torch.testing import assert_close

from hnlmrec.baselines import Picks
from hnlmrec.config import ModelConfig
from hnlmrec.distributed import ALONE, World
from hnlmrec.evaluation import evaluate
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.training import LanguageArtefacts, TrainedModel, build_learner, train
from hnlmrec.training.division import Division
from hnlmrec.training.learner import epoch_batches
from synthetic import N_ITEMS, N_USERS, interactions
from world_cases import together

SIZES = (2, 3)
DIM, WIDTH, EPOCHS = 8, 6, 3
CPU = torch.device("cpu")

DNS = {"name": "dns", "candidates": 4}
_CAREFUL = {"name": "dns", "candidates": 5, "top": 2, "warmup": 2, "guard": 0.1}
_ALIGNED = {"weight": 0.1, "user_weight": 0.1, "interaction_weight": 0.2, "hidden": 8}
_ALL_TEXTS = {**_ALIGNED, "max_items": 24}
_SEVERAL = {"negatives": 2}
_SL = {"name": "sl"}

# models of sampled items and inner products: these can be divided by columns too
PLAIN: dict[str, dict[str, Any]] = {
    "uniform": {},
    "mf": {"backbone": {"name": "mf"}, "training": _SEVERAL},
    "lazy": {"backbone": {"name": "mf"}, "training": {"optimizer": "lazy_adam"}},
    "dns": {"sampler": _CAREFUL, "training": _SEVERAL},
    "mf-dns": {"sampler": DNS, "backbone": {"name": "mf"}},
    "popularity": {"sampler": {"name": "popularity"}, "loss": {"name": "bce"}},
    "ahns": {"sampler": {"name": "ahns", "candidates": 4}, "training": _SEVERAL},
    "srns": {"sampler": {"name": "srns", "memory": 5, "extra": 4}},
    "sl": {"loss": {"name": "sl", "similarity": "inner"}, "training": {"negatives": 4}},
}
OTHERS: dict[str, dict[str, Any]] = {
    "cosine": {"sampler": _CAREFUL, "loss": _SL, "training": _SEVERAL},
    "mixgcf": {"sampler": {"name": "mixgcf", "candidates": 4}, "training": _SEVERAL},
    "dens": {"sampler": {"name": "dens", "candidates": 4}},
    "in_batch": {"sampler": {"name": "in_batch"}, "loss": _SL},
    "shared": {"sampler": {"name": "shared", "size": 6, "beta": 0.5}, "loss": _SL},
    "meaning": {"sampler": {**DNS, "meaning": {"margin": 0.1, "action": "replace"}}},
    "alignment": {"sampler": DNS, "alignment": _ALIGNED},
    "semantic": {
        "sampler": {"name": "semantic", "base": DNS, "draws": 2, "contrastive_weight": 0.1},
        "alignment": _ALIGNED,
        "training": _SEVERAL,
    },
    "extra": {
        "sampler": {"name": "semantic", "base": _CAREFUL, "enter": "extra", "source": "noise"},
        "loss": _SL,
        "alignment": {"weight": 0.1, "hidden": 8},
    },
    "text": {
        "sampler": {
            "name": "semantic", "base": DNS, "enter": "text", "draws": 2, "shared": True,
            "contrastive_weight": 0.1, "stop_gradient": False,
        },
        "alignment": _ALL_TEXTS,
    },
    "over-srns": {
        "sampler": {"name": "semantic", "base": PLAIN["srns"]["sampler"], "contrastive_weight": 1},
        "alignment": {"weight": 0.1, "hidden": 8},
    },
    "sgl": {"backbone": {"name": "sgl"}, "sampler": DNS},
    "simgcl": {"backbone": {"name": "simgcl"}, "sampler": DNS},
    "xsimgcl": {"backbone": {"name": "xsimgcl"}},
    "ngcf": {"backbone": {"name": "ngcf", "dropout": 0.2}, "sampler": {"name": "mixgcf"}},
    "alpharec": {"backbone": {"name": "alpharec", "hidden": 8}, "loss": _SL},
    "rlmrec_con": {"baseline": {"name": "rlmrec_con", "weight": 0.3, "hidden": 7}},
    "rlmrec_gen": {"baseline": {"name": "rlmrec_gen", "weight": 0.3, "hidden": 7, "share": 0.5}},
    "kar": {"baseline": {"name": "kar", "shared": 1, "dedicated": 2, "hidden": 7}},
    "llmrec": {"baseline": {"name": "llmrec", "weight": 0.3, "prune": 0.4}, "sampler": DNS},
}  # fmt: skip
BY_ROWS = {**PLAIN, **OTHERS}


def _model(tree: dict[str, Any], **training: Any) -> ModelConfig:
    # the last batch of an epoch has few pairs, too few for three processes
    limits = {"epochs": EPOCHS, "batch_size": _batch_size(), "evaluate_every": 1, "lr": 0.01}
    return ModelConfig.model_validate(
        {
            **tree,
            "backbone": {"dim": DIM, "layers": 2, **tree.get("backbone", {})},
            "training": {**limits, **tree.get("training", {}), **training},
        }
    )


def _batch_size() -> int:
    """Of the sizes from 64, the first that leaves from 3 to 5 pairs for the last batch."""
    n = interactions().train.nnz
    return next(size for size in range(64, n) if 3 <= n % size <= 5)


def _language(store: Path) -> LanguageArtefacts:
    """Random texts, picks of half the users, and synthesised negatives of two thirds of pairs."""
    data, generator = interactions(), torch.Generator().manual_seed(5)
    if not store.exists():
        made = NegativeStore.create(store, data, WIDTH)
        rows = np.flatnonzero(np.arange(data.train.nnz) % 3)
        made.write(rows, torch.randn(len(rows), WIDTH, generator=generator.manual_seed(6)))
    generator.manual_seed(7)
    items, users = (
        normalize(torch.randn(n, WIDTH, generator=generator), dim=1) for n in (N_ITEMS, N_USERS)
    )
    favourite = torch.arange(N_USERS) % N_ITEMS
    favourite[::2] = -1
    picks = Picks(favourite, (favourite + 3) % N_ITEMS)
    return LanguageArtefacts(NegativeStore.open(store, data), items, users, picks)


def _cases() -> dict[str, tuple[dict[str, Any], Any]]:
    columns = {f"columns-{name}": (tree, "columns") for name, tree in PLAIN.items()}
    rows = {name: (tree, "data") for name, tree in BY_ROWS.items()}
    return {**rows, **columns}


def _work(world: World, root: Path) -> None:
    """Train every model; the first process keeps what came of it, and all keep the metrics."""
    language, data = _language(root / "store"), interactions()
    for name, (tree, parallel) in _cases().items():
        folder = root / f"of{world.size}" / name
        folder.mkdir(parents=True, exist_ok=True)
        world.wait()
        config = _model(tree)
        save_file(_gradients(config, language, world, parallel), folder / f"step{world.rank}")
        train(config, data, 0, language, folder, None, world, parallel)
        world.wait()
        found = evaluate(TrainedModel.load(folder).view, data, "test", [5], 7, world)
        found.save(folder / f"per_user{world.rank}.parquet")


def _gradients(
    config: ModelConfig, language: LanguageArtefacts, world: World, parallel: Any
) -> dict[str, torch.Tensor]:
    """Of the second batch of an epoch, whole."""
    data = interactions()
    division = Division(world, parallel, (data.n_users + data.n_items, DIM))
    learner = build_learner(config, data, 0, language, CPU, division)
    order, draws = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    batch = [*epoch_batches(data, 64, order, CPU, 2)][1]
    parts = learner.step(batch, draws)
    found = {
        name: value.grad.to_dense()
        for name, value in learner.named_parameters()
        if value.grad is not None
    }
    found = division.gathered(found)
    return {**found, **{f"part.{name}": value.float()[None] for name, value in parts.items()}}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What worlds of each size made."""
    folder = tmp_path_factory.mktemp("together")
    _work(ALONE, folder)
    for size in SIZES:
        together(size, _work, folder)
    return folder


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", [*BY_ROWS, *(f"columns-{name}" for name in PLAIN)])
def test_any_number_of_processes_trains_the_same_model(root: Path, name: str, size: int) -> None:
    alone, folder = root / "of1" / name, root / f"of{size}" / name
    steps = load_file(alone / "step0"), load_file(folder / "step0")
    assert steps[0].keys() == steps[1].keys()
    for key, value in steps[0].items():
        assert_close(steps[1][key], value, atol=1e-5, rtol=1e-4, msg=lambda text, k=key: k + text)
    one, several = (json.loads((at / "report.json").read_text()) for at in (alone, folder))
    assert several["best_epoch"] == one["best_epoch"]
    assert several["missing_negatives"] == one["missing_negatives"]
    for row, expected in zip(several["history"], one["history"], strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-5)
    models = [load_file(at / "model.safetensors") for at in (alone, folder)]
    assert models[0].keys() == models[1].keys()
    for key, value in models[0].items():
        found, expected = models[1][key].float(), value.float()
        # the history of srns is NaN where there is none
        assert_close(found, expected, atol=1e-4, rtol=1e-3, equal_nan=True)
    frames = [pl.read_parquet(at / "per_user0.parquet") for at in (alone, folder)]
    assert frames[0].select("user", "n_relevant").equals(frames[1].select("user", "n_relevant"))
    assert frames[1].drop("user").mean().row(0) == pytest.approx(
        frames[0].drop("user").mean().row(0), abs=1e-3
    )


@pytest.mark.parametrize("size", SIZES)
def test_every_process_is_given_all_rows_of_an_evaluation(root: Path, size: int) -> None:
    for folder in (root / f"of{size}").iterdir():
        view = TrainedModel.load(folder).view
        alone = evaluate(view, interactions(), "test", [5], 7)
        for rank in range(size):
            assert pl.read_parquet(folder / f"per_user{rank}.parquet").equals(alone.frame)
