"""`hnlmrec study`: a grid is trained, resumed and shared, and its tables say what was found."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

import hnlmrec
from hnlmrec.cli import app
from hnlmrec.config import RunConfig
from hnlmrec.errors import HnlmrecError
from hnlmrec.evaluation.evaluate import Evaluation
from hnlmrec.studies.costs import tokens_of
from synthetic import small_tree

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")
STUDY = {
    "title": "Shares",
    "claim": "less is less",
    "axis": {"label": "share", "numeric": True},
    "points": {
        "half": {"x": 0.5, "run": {"data.split.train_share": 0.5}},
        "all": {"x": 1.0},
    },
    "models": {
        "dns": {},
        "hnlmrec": {},
        "noise": {"of": "hnlmrec", "model": {"sampler.source": "noise"}},
    },
    "reference": "dns",
    "seeds": [0, 1],
    "shift": True,
}


def call(folder: Path, study: Path, *more: str) -> str:
    arguments = ["study", study, "--data", folder / "data.yaml", "--output", folder / "out", *more]
    result = CliRunner().invoke(app, [str(part) for part in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def finished(
    small_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("study")
    tree = small_tree(small_data, tiny_model, folder / "unused") | {"threads": 1}
    (folder / "data.yaml").write_text(yaml.safe_dump(tree))
    (folder / "shares.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return folder, call(folder, folder / "shares.yaml")


def frame(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "out" / "shares" / f"{name}.parquet")


def test_the_tables_hold_every_cell(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    cells = 2 * 3 * 2
    assert f"{cells} of {cells}" in printed
    record = json.loads((folder / "out" / "shares" / "study.json").read_text())
    assert record["points"] == ["half", "all"]
    assert record["models"] == ["dns", "hnlmrec", "noise"]
    assert record["metrics"] == ["recall@10", "ndcg@10", "recall@5", "ndcg@5"]
    assert (folder / "out" / "shares" / record["runs"]["half"] / "manifest.json").is_file()
    for name in ("per_user", "measures", "curves", "groups", "shift"):
        keys = frame(folder, name).select("point", "model", "seed").unique()
        assert keys.height == cells, name
    summary = frame(folder, "summary")
    assert summary.height == 2 * 3 * 4
    assert pl.read_csv(folder / "out" / "shares" / "summary.csv").height == summary.height


def test_the_numbers_are_those_of_the_runs(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    record = json.loads((folder / "out" / "shares" / "study.json").read_text())
    summary = frame(folder, "summary")
    for cell in record["cells"]:
        run = folder / "out" / "runs" / cell["run"]
        paths = [run / "evaluate" / f"{cell['stage_model']}-seed{seed}" for seed in (0, 1)]
        means = [Evaluation.load(path / "per_user.parquet").means()["ndcg@10"] for path in paths]
        (row,) = summary.filter(
            point=cell["point"], model=cell["model"], metric="ndcg@10"
        ).iter_rows(named=True)
        assert row["mean"] == pytest.approx(sum(means) / 2)
        assert (row["p_t_holm"] is None) == (cell["model"] == "dns")
        # what is of an item's group is of the same ranking
        groups = frame(folder, "groups").filter(
            point=cell["point"], model=cell["model"], side="users", metric="ndcg@10"
        )
        weighted = (groups["value"] * groups["users"]).sum() / groups["users"].sum()
        assert weighted == pytest.approx(row["mean"])


def test_only_models_with_a_language_model_cost_tokens(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    costs = frame(folder, "measures").pivot("measure", index=["point", "model", "seed"])
    assert (costs.filter(model="dns")["language_tokens"] == 0).all()
    assert (costs.filter(model="dns")["language_seconds"] == 0).all()
    ours = costs.filter(model="hnlmrec", point="all", seed=0).row(0, named=True)
    run = json.loads((folder / "out" / "shares" / "study.json").read_text())["runs"]["all"]
    manifest = json.loads((folder / "out" / "shares" / run / "manifest.json").read_text())
    stages = [manifest["stages"][name] for name in ("profile", "pretrain", "finetune")]
    assert ours["language_seconds"] >= sum(stage["seconds"] for stage in stages)
    assert ours["language_tokens"] > 0
    # noise needs the text vectors of items, but no synthesised negatives
    noise = costs.filter(model="noise", point="all", seed=0).row(0, named=True)
    assert noise["language_bytes"] < ours["language_bytes"]
    assert noise["mi_bound_after"] is None
    head = json.loads((folder / "out" / "shares" / run / "finetune" / "report.json").read_text())
    assert ours["mi_bound_after"] == head["phases"]["head"]["after"]["mi_bound"]


def test_what_is_finished_is_not_done_again(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    again = call(folder, folder / "shares.yaml")
    assert ">" not in again
    # another study of the same data shares what it has in common with this one
    other = STUDY | {"points": {"": {}}, "axis": {}, "models": {"dns": {}, "uniform": {}}}
    other["shift"] = False
    (folder / "other.yaml").write_text(yaml.safe_dump(other))
    printed = call(folder, folder / "other.yaml")
    assert "> train/uniform-" in printed
    assert "> train/dns-" not in printed
    # what the other study alone looks at is not in this one's tables
    assert not (folder / "out" / "other" / "shift.parquet").exists()
    # and leaves in the run's configuration what that one needs
    (run,) = (folder / "out" / "runs").glob("base-*")
    names = {name.rpartition("-")[0] for name in RunConfig.from_yaml(run / "config.yaml").models}
    assert names == {"dns", "hnlmrec", "noise", "uniform"}


def test_the_short_form_is_kept_apart(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    call(folder, folder / "other.yaml", "--quick")
    record = json.loads((folder / "out" / "other-quick" / "study.json").read_text())
    assert record["quick"] is True
    assert record["seeds"] == [0]


def test_the_same_from_python(finished: tuple[Path, str]) -> None:
    folder, _ = finished
    config = RunConfig.from_yaml(folder / "data.yaml")
    done = hnlmrec.study(str(folder / "shares.yaml"), config, folder / "out", quiet=True)
    assert done.summary.equals(frame(folder, "summary"))
    assert done.frame("groups").height == frame(folder, "groups").height
    with pytest.raises(HnlmrecError, match="the table nothing cannot be read"):
        done.frame("nothing")


def test_tokens_of_all_kinds_of_reports() -> None:
    assert tokens_of({"tokens": 5}) == 5
    assert tokens_of({"tokens": {"lora": 2, "states": 3}}) == 5
    assert tokens_of({"usage": {"asked": 9, "prompt_tokens": 4, "answer_tokens": 1}}) == 5
    assert tokens_of({"tokens": 0}) == 0
    assert tokens_of({"users": 3}) is None
