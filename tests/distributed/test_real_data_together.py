"""Two processes train and measure on MovieLens-100k and Amazon Toys what one does.

A rank flips where two scores nearly agree, so that means over users agree to two thousandths.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch.nn.functional import normalize

from hnlmrec.config import DataConfig, ModelConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.data.prepare import prepare
from hnlmrec.distributed import ALONE, World
from hnlmrec.errors import DataError
from hnlmrec.evaluation import evaluate
from hnlmrec.training import LanguageArtefacts, TrainedModel, train
from world_cases import together

_DNS = {"name": "dns"}
MODELS: dict[str, tuple[dict[str, Any], Any]] = {
    "dns": ({"sampler": _DNS}, "data"),
    "columns": ({"sampler": _DNS}, "columns"),
    "texts": (
        {"sampler": _DNS, "alignment": {"weight": 0.01, "interaction_weight": 0.1}},
        "data",
    ),
    "noise": (
        {
            "sampler": {"name": "semantic", "base": _DNS, "source": "noise"},
            "alignment": {"weight": 0.01},
        },
        "data",
    ),
}
_TRAINING = {"epochs": 2, "evaluate_every": 1}


def _work(world: World, root: Path) -> None:
    data = Interactions.load(root)
    vectors = torch.randn(data.n_items, 32, generator=torch.Generator().manual_seed(0))
    language = LanguageArtefacts(item_vectors=normalize(vectors, dim=1))
    for name, (tree, parallel) in MODELS.items():
        folder = root / f"{name}{world.size}"
        folder.mkdir(exist_ok=True)
        world.wait()
        model = ModelConfig.model_validate({**tree, "training": _TRAINING})
        train(model, data, 0, language, folder, None, world, parallel)
        world.wait()
        rows = evaluate(TrainedModel.load(folder).view, data, "test", [20], 512, world)
        if world.is_first:
            rows.save(folder / "per_user.parquet")


def _two_agree_with_one(config: DataConfig, root: Path) -> None:
    prepare(config, root)
    _work(ALONE, root)
    together(2, _work, root)
    for name in MODELS:
        one, two = (pl.read_parquet(root / f"{name}{n}" / "per_user.parquet") for n in (1, 2))
        assert one["user"].equals(two["user"])
        for metric in ("recall@20", "ndcg@20"):
            assert two[metric].mean() == pytest.approx(one[metric].mean(), abs=2e-3), name


@pytest.mark.slow
def test_movielens(tmp_path: Path) -> None:
    try:
        _two_agree_with_one(DataConfig(), tmp_path)
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_toys(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = str(shared_data("amazon-toys-2014"))
    config = DataConfig(reader="table", path=folder, split={"method": "leave_one_out"})
    _two_agree_with_one(config, tmp_path)
