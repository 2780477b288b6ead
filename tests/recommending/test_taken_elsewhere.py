"""What is written for use elsewhere, of a small whole run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from typer.testing import CliRunner

from hnlmrec.api import FinishedRun, run
from hnlmrec.cli import app
from hnlmrec.errors import ConfigError
from hnlmrec.recommending.negatives import hard_negatives
from hnlmrec.synthesis.store import NegativeStore
from synthetic import small_config

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")


@pytest.fixture(scope="module")
def finished(
    small_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> FinishedRun:
    folder = tmp_path_factory.mktemp("exported") / "run"
    return run(small_config(small_data, tiny_model, folder), quiet=True)


def _call(finished: FinishedRun, *words: object) -> str:
    folder = str(finished.pipeline.folder.path)
    command, *rest = map(str, words)
    done = CliRunner().invoke(app, [command, folder, *rest])
    assert done.exit_code == 0, done.output
    return done.output


def test_embeddings_with_ids_and_a_card(finished: FinishedRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):  # a second one takes the place of the first
        _call(finished, "export", "embeddings", "--model", "dns", "--output", out)
    tensors, view = load_file(out / "embeddings.safetensors"), finished.model("dns").view
    assert torch.equal(tensors["users"], view.users)
    assert torch.equal(tensors["items"], view.items)
    items = pl.read_parquet(out / "items.parquet")["item_id"]
    assert items.to_list() == finished.interactions.item_ids.to_list()
    card = (out / "README.md").read_text()
    assert f"{finished.interactions.n_users:,} users" in card
    metric = finished.table.filter(model="dns")["recall@10"].item()
    assert f"recall@10 {metric:.4f}" in card


def test_an_index_of_the_items_finds_what_an_exact_search_finds(
    finished: FinishedRun, tmp_path: Path
) -> None:
    faiss = pytest.importorskip("faiss")
    out = tmp_path / "out"
    _call(finished, "export", "index", "--model", "dns", "--output", out)
    index, view = faiss.read_index(str(out / "items.faiss")), finished.model("dns").view
    k = min(20, len(view.items))
    found = index.search(view.users.numpy(), k)[1]
    exact = (view.users @ view.items.T).topk(k).indices.numpy()
    share = np.mean([len(set(a) & set(b)) / k for a, b in zip(found, exact, strict=True)])
    assert f"it finds {share:.1%}" in (out / "README.md").read_text()
    assert share > 0.9
    # without an index, none of a former export is left
    _call(finished, "export", "embeddings", "--model", "dns", "--output", out)
    assert not (out / "items.faiss").exists()


def test_recommendations_by_the_command_are_those_of_the_model(
    finished: FinishedRun, tmp_path: Path
) -> None:
    user = finished.interactions.user_ids[3]
    printed = _call(finished, "recommend", "--model", "dns", "--user", user, "-k", 2)
    _call(finished, "recommend", "--model", "dns", "-k", 2, "--output", tmp_path / "all.csv")
    rows = pl.read_csv(tmp_path / "all.csv", infer_schema=False)
    assert rows["user_id"].n_unique() == finished.interactions.n_users
    mine = rows.filter(user_id=user)
    data, view = finished.interactions, finished.model("dns").view
    scores = (view.users[3] @ view.items.T).numpy()
    scores[(data.train + data.valid + data.test)[[3]].indices] = -np.inf
    best = data.item_ids.gather(np.argsort(-scores)[:2]).to_list()
    assert mine["item_id"].to_list() == best
    assert all(item in printed for item in best)


def test_each_pair_has_the_item_nearest_to_its_synthesised_negative(
    finished: FinishedRun, tmp_path: Path
) -> None:
    data, trained = finished.interactions, finished.model("hnlmrec")
    context = finished.pipeline.context
    config = context.config.models["hnlmrec"]
    blocks = hard_negatives(trained, config, data, context.language_artefacts(config), 0)
    rows = pl.concat(blocks)
    users, positives = data.pairs("train")
    assert rows["user"].to_list() == users.tolist()
    assert rows["positive"].to_list() == positives.tolist()

    from hnlmrec.training import build_learner

    language = context.language_artefacts(config)
    learner = build_learner(config, data, 0, language, torch.device("cpu"))
    learner.load_state_dict(trained.state)
    store = NegativeStore.open(finished.pipeline.folder.stage("synthesize"), data)
    with torch.no_grad():
        hard = learner.adapter(store.vectors(torch.arange(len(users)))[0])
    items = F.normalize(trained.view.items, dim=1)
    for row in range(0, len(users), 7):
        cosines = (F.normalize(hard[row], dim=0) @ items.T).numpy()
        cosines[data.train[[users[row]]].indices] = -np.inf
        assert rows["negative"][row] == cosines.argmax()
        assert rows["similarity"][row] == pytest.approx(cosines.max(), abs=1e-5)
        scores = trained.view.users[users[row]] @ trained.view.items.T
        assert rows["score_positive"][row] == pytest.approx(scores[positives[row]].item(), abs=1e-5)
        negative = rows["negative"][row]
        assert rows["score_negative"][row] == pytest.approx(scores[negative].item(), abs=1e-5)

    _call(finished, "export", "negatives", "--model", "hnlmrec", "--output", tmp_path / "n")
    named = pl.read_parquet(tmp_path / "n" / "*.parquet")
    assert named["negative_id"].to_list() == data.item_ids.gather(rows["negative"]).to_list()
    _call(finished, "export", "triplets", "--model", "hnlmrec", "--output", tmp_path / "t.jsonl")
    texts = pl.read_ndjson(tmp_path / "t.jsonl")
    assert texts.columns == ["anchor", "positive", "negative"]
    assert texts.height == rows.height


def test_a_model_without_synthesised_negatives_has_none_to_give(
    finished: FinishedRun, tmp_path: Path
) -> None:
    config = finished.pipeline.config.models["dns"]
    with pytest.raises(ConfigError, match="semantic"):
        next(hard_negatives(finished.model("dns"), config, finished.interactions, None, 0))


def test_no_model_is_guessed_where_there_are_several(finished: FinishedRun, tmp_path: Path) -> None:
    folder = str(finished.pipeline.folder.path)
    call = ["recommend", folder, "--output", str(tmp_path / "all.csv")]
    done = CliRunner().invoke(app, call)
    assert isinstance(done.exception, ConfigError)
    assert "uniform, dns, hnlmrec" in str(done.exception)
    assert not (tmp_path / "all.csv").exists()
