"""The common job from Python."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from hnlmrec import HNLMRec
from hnlmrec.api import run
from hnlmrec.errors import ConfigError, DataError, HnlmrecError
from synthetic import small_config, small_tree

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")


def _frames(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.read_csv(folder / "interactions.csv"), pl.read_ndjson(folder / "items.jsonl")


def test_fitted_it_is_the_run_of_the_same_configuration(
    small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    tree = small_tree(small_data, tiny_model, Path())
    config = {key: tree[key] for key in tree if key not in ("run", "data")}
    config["data"] = {"min_rating": None, "core": 2}
    interactions, items = _frames(small_data)
    model = HNLMRec(tmp_path / "mine", config=config)
    assert model.fit(interactions, items) is model

    other = run(small_config(small_data, tiny_model, tmp_path / "other"), quiet=True)
    expected = other.table.filter(model="hnlmrec")
    found = model.evaluate()
    assert found["recall@10"] == pytest.approx(expected["recall@10"].item(), abs=1e-9)

    best = model.recommend(["u3", "nobody"], k=4)
    assert best["user_id"].to_list() == ["u3"] * 4
    assert best["score"].is_sorted(descending=True)
    assert model.recommend(k=1).height == model.interactions.n_users

    record = tmp_path / "mine/train/hnlmrec-seed0/stage.json"
    before = record.stat().st_mtime_ns
    HNLMRec(**model.get_params()).fit(interactions, items)
    assert record.stat().st_mtime_ns == before
    model.set_params(model="dns").fit(interactions.head(60), items)
    assert model.interactions.train.nnz < 60


def test_a_model_that_needs_no_texts_is_fitted_without(small_data: Path, tmp_path: Path) -> None:
    interactions, _ = _frames(small_data)
    tree = {"data": {"core": 2}, "training": {"epochs": 1}, "backbone": {"dim": 4}}
    model = HNLMRec(tmp_path / "run", model="dns", config=tree).fit(interactions)
    assert set(model.recommend(k=2).columns) == {"user_id", "rank", "item_id", "score"}


def test_misuse_is_said(tmp_path: Path, small_data: Path) -> None:
    interactions, _ = _frames(small_data)
    model = HNLMRec(tmp_path / "run")
    with pytest.raises(ConfigError, match="not fitted"):
        model.recommend()
    with pytest.raises(ConfigError, match="there is no parameter 'lr'"):
        model.set_params(lr=1)
    with pytest.raises(ConfigError, match="there is no model 'best'"):
        HNLMRec(tmp_path / "run", model="best").fit(interactions)
    with pytest.raises(DataError, match="list"):
        model.fit([1, 2])  # type: ignore[arg-type]
    with pytest.raises(HnlmrecError, match="user_id"):
        HNLMRec(tmp_path / "run", model="dns").fit(interactions.rename({"user_id": "u"}))
