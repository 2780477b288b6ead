from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from rich.console import Console
from safetensors.torch import load_file
from typer.testing import CliRunner

from hnlmrec.cli import app
from hnlmrec.config import RunConfig
from hnlmrec.config.presets import preset
from hnlmrec.errors import ArtifactError, ConfigError, DataError
from hnlmrec.pipeline import Pipeline
from hnlmrec.plan import plan
from hnlmrec.profiles.wording import Wording
from hnlmrec.reporting import Reporter
from hnlmrec.studies.examples import examples
from hnlmrec.training.model import FILE as MODEL_FILE
from synthetic import N_USERS, small_config, small_tree, write_files

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")


class _Stopped(Exception):
    pass


class _StoppingReporter(Reporter):
    """Interrupts a stage at the n-th sign of progress in it."""

    def __init__(self, stage: str, n: int) -> None:
        super().__init__(Console(file=io.StringIO()))
        self._wanted, self._n, self._here = stage, n, ""

    def stage(self, name: str):
        self._here = name
        return super().stage(name)

    def progress(self, text: str, done: int, total: int) -> None:
        if self._here == self._wanted:
            self._n -= 1
            if self._n == 0:
                raise _Stopped


def _run(config: RunConfig, **options: bool) -> str:
    out = io.StringIO()
    pipeline = Pipeline(config, Reporter(Console(file=out, width=200)), **options)
    pipeline.run(["compare"])
    return out.getvalue()


@pytest.fixture(scope="module")
def finished(
    small_data: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, str]:
    """A whole run, and what it printed."""
    config = small_config(small_data, tiny_model, tmp_path_factory.mktemp("whole") / "run")
    return config, _run(config)


def test_a_run_ends_with_the_table_and_says_what_each_stage_did(
    finished: tuple[RunConfig, str],
) -> None:
    config, printed = finished
    for stage in (
        "prepare",
        "profile",
        "encode/items",
        "pretrain",
        "finetune",
        "synthesize",
        "compare",
    ):
        assert f"> {stage}" in printed
    assert "coverage 100.0%" in printed
    for name in config.models:
        assert f"> train/{name}-seed0" in printed
    table = pl.read_csv(config.run / "compare" / "table.csv")
    assert table["model"].to_list() == ["uniform", "dns", "hnlmrec"]
    assert table["fhns_synthesised"].to_list()[2] is not None
    tests = pl.read_csv(config.run / "compare" / "tests.csv")
    assert set(tests["metric"]) == {"recall@5", "recall@10", "ndcg@5", "ndcg@10"}
    assert (config.run / "compare" / "table.md").read_text().count("\n") == 5


def test_the_manifest_says_what_made_the_run(finished: tuple[RunConfig, str]) -> None:
    config, _ = finished
    manifest = json.loads((config.run / "manifest.json").read_text())
    assert RunConfig.from_dict(manifest["config"]) == config
    stage = manifest["stages"]["train/hnlmrec-seed0"]
    assert stage["section"]["seed"] == 0
    assert stage["seconds"] > 0
    assert stage["peak_memory_mib"] > 10
    assert stage["inputs"].keys() == {"prepare", "encode/items", "synthesize"}
    assert {"python", "torch", "transformers"} <= stage["versions"].keys()
    assert all(len(file["sha256"]) == 64 for file in stage["files"].values())


def test_the_table_is_the_mean_of_the_per_user_rows(finished: tuple[RunConfig, str]) -> None:
    config, _ = finished
    rows = pl.read_parquet(config.run / "evaluate" / "dns-seed0" / "per_user.parquet")
    table = pl.read_csv(config.run / "compare" / "table.csv")
    mean = table.filter(pl.col("model") == "dns")["ndcg@10"].item()
    assert mean == pytest.approx(rows["ndcg@10"].mean())
    assert rows["user"].n_unique() == rows.height <= N_USERS


def test_costs_are_means_over_the_training_reports(finished: tuple[RunConfig, str]) -> None:
    config, printed = finished
    costs = pl.read_csv(config.run / "compare" / "costs.csv")
    assert costs["model"].to_list() == list(config.models)
    for row in costs.iter_rows(named=True):
        paths = [config.run / "train" / f"{row['model']}-seed{seed}" for seed in config.seeds]
        reports = [json.loads((path / "report.json").read_text()) for path in paths]
        for key in ("epochs", "best_epoch", "seconds_per_epoch"):
            assert row[key] == pytest.approx(sum(r[key] for r in reports) / len(reports))
        seconds = [r["seconds_per_epoch"] * len(r["history"]) for r in reports]
        assert row["seconds"] == pytest.approx(sum(seconds) / len(seconds))
        line = next(x for x in printed.splitlines() if x.lstrip().startswith(f"{row['model']} "))
        assert f"{row['epochs']:.0f}" in line.split()
        assert f"{row['seconds']:.1f}" in line.split()


def test_live_negatives_need_no_store(
    finished: tuple[RunConfig, str], small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished[0].run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "synthesize")
    tree = small_tree(small_data, tiny_model, tmp_path / "run")
    models = tree["models"]
    models["live"] = {**models["hnlmrec"], "sampler": {**models["hnlmrec"]["sampler"]}}
    models["live"]["sampler"]["source"] = "live"
    config = RunConfig.from_dict({**tree, "models": {k: models[k] for k in ("dns", "live")}})
    printed = _run(config, update=True)
    assert "> train/live-seed0" in printed
    assert "synthesize" not in printed
    table = pl.read_csv(config.run / "compare" / "table.csv")
    stored = pl.read_csv(finished[0].run / "compare" / "table.csv")
    assert table["fhns_synthesised"].to_list()[1] is not None
    # the same negatives but for the rounding of the store
    both = (
        t.filter(pl.col("model") == name)["ndcg@10"]
        for t, name in ((table, "live"), (stored, "hnlmrec"))
    )
    assert next(both).item() == pytest.approx(next(both).item(), abs=0.02)
    with pytest.raises(ConfigError, match="only amortized has a head"):
        RunConfig.from_dict({**config.model_dump(), "synthesis": {"mode": "pairwise"}})


def test_a_run_trains_with_names_and_without_any_it_falls_back_and_says_so(
    finished: tuple[RunConfig, str], small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished[0].run, tmp_path / "run")
    tree = small_tree(small_data, tiny_model, tmp_path / "run")
    tree["synthesis"]["route_a"] = {"pairs": 6, "max_new_tokens": 24}
    tree["profile"] |= {"max_fallback_share": 1}  # a model of random weights names nothing
    base = tree["models"].pop("hnlmrec")
    for source in ("names", "grounded"):
        sampler = {**base["sampler"], "source": source, "enter": "extra", "draws": 2}
        alignment = {**base["alignment"], "adapter": "attention", "user_weight": 0.1}
        tree["models"][source] = {"sampler": sampler, "alignment": alignment}
    config = RunConfig.from_dict(tree)
    printed = _run(config, update=True)
    assert "= encode/items: up to date" in printed
    assert "finetune" not in printed
    assert "6 names, 6 questions to ask" in printed
    assert "6 training pairs; names found by: title" in printed
    for source in ("names", "grounded"):
        report = json.loads((config.run / "train" / f"{source}-seed0" / "report.json").read_text())
        named = report["pairs_trained"] - report["missing_negatives"]
        assert 0 <= named <= 6 * report["epochs"]
        assert "had no synthesised negative and used the base sampler's alone" in printed


def test_a_run_learns_from_a_teacher_of_the_same_data_and_cf_model_only(
    small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def finetune(name: str, data: Path = small_data, **changes: object) -> tuple[str, Pipeline]:
        tree = small_tree(data, tiny_model, tmp_path / name)
        tree["synthesis"] |= changes.pop("synthesis", {})
        out = io.StringIO()
        config = RunConfig.from_dict({**tree, **changes})
        pipeline = Pipeline(config, Reporter(Console(file=out, width=200)), update=True)
        pipeline.run(["finetune"])
        return out.getvalue(), pipeline

    finetune("teacher", synthesis={"mode": "pairwise"})
    taught = {"synthesis": {"distill": {"teacher": tmp_path / "teacher", "pairs": 40}}}
    printed, before = finetune("taught", **taught)
    assert "agreement" in printed
    assert "teacher" in printed.splitlines()[-3] + printed.splitlines()[-2]
    with pytest.raises(ArtifactError, match="the teacher's `prepare`"):
        finetune("other-data", write_files(tmp_path / "data", seed=3), **taught)
    with pytest.raises(ArtifactError, match="the teacher's `pretrain`"):
        finetune("other-model", training={"epochs": 3, "batch_size": 64, "lr": 0.05}, **taught)
    # a teacher that was taught anew redoes what learned from it
    finetune("teacher", synthesis={"mode": "pairwise"}, seed=0, language={
        "model": str(tiny_model), "max_tokens": 20
    })  # fmt: skip
    after = Pipeline(before.config, Reporter(Console(file=io.StringIO())), update=True)
    assert before.key("finetune") != after.key("finetune")
    assert before.key("pretrain") == after.key("pretrain")


def test_the_paper_s_recipe_runs(small_data: Path, tiny_model: Path, tmp_path: Path) -> None:
    recipe = yaml.safe_load(preset("paper"))
    small = small_tree(small_data, tiny_model, tmp_path / "run")
    recipe["synthesis"]["finetune"].update(small["synthesis"]["finetune"])
    recipe["synthesis"] |= {"chunk_pairs": 64, "pretrain_epochs": 3}
    changed = ("run", "data", "language", "profile", "backbone", "training")
    config = RunConfig.from_dict(recipe | {key: small[key] for key in changed})
    printed = _run(config)
    assert "training pairs, coverage 100.0%" in printed
    assert "lightgcn (reference)" in printed
    trained = config.run / "train" / "hnlmrec-seed0"
    report = json.loads((trained / "report.json").read_text())
    assert {"ranking", "contrastive"} <= report["history"][0].keys()
    assert "alignment" not in report["history"][0]
    assert any("adapter.attention" in name for name in load_file(trained / MODEL_FILE))


def test_verify_finds_a_byte_that_changed(finished: tuple[RunConfig, str], tmp_path: Path) -> None:
    shutil.copytree(finished[0].run, tmp_path / "run")
    words = ["synthesize", str(tmp_path / "run"), "--verify"]
    whole = CliRunner().invoke(app, words)
    assert whole.exit_code == 0, whole.output
    assert "checksums of all files agree" in whole.output
    assert "coverage 100.00%" in whole.output
    shard = tmp_path / "run" / "synthesize" / "negatives-00000.float16"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    error = CliRunner().invoke(app, words).exception
    assert isinstance(error, ArtifactError)
    assert "negatives-00000.float16" in str(error)


def test_a_second_run_does_nothing(finished: tuple[RunConfig, str]) -> None:
    printed = _run(finished[0])
    assert ">" not in printed
    assert printed.count("up to date") == printed.count("\n")


@pytest.mark.parametrize(
    ("stage", "n"),
    [
        ("pretrain", 2),
        ("encode/items", 1),
        ("finetune", 1),
        ("finetune", 4),
        ("finetune", 8),
        ("synthesize", 2),
        ("train/dns-seed0", 2),
        ("train/hnlmrec-seed0", 1),
    ],
)
def test_interrupted_in_any_stage_a_run_ends_with_the_same_metrics(
    stage: str,
    n: int,
    finished: tuple[RunConfig, str],
    small_data: Path,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    whole = finished[0]
    config = small_config(small_data, tiny_model, tmp_path / "run")
    with pytest.raises(_Stopped):
        Pipeline(config, _StoppingReporter(stage, n)).run(["compare"])
    assert not (config.run / stage).exists()
    _run(config)
    for name in ("table.csv", "tests.csv"):
        ours, theirs = (c.run / "compare" / name for c in (config, whole))
        assert ours.read_text() == theirs.read_text()


def test_a_change_redoes_what_depends_on_it_and_nothing_else(
    small_data: Path, tmp_path: Path
) -> None:
    models = {"uniform": {}, "dns": {"sampler": {"name": "dns"}}}
    config = small_config(small_data, Path("none"), tmp_path / "run", models=models)
    _run(config)
    models["dns"]["sampler"]["candidates"] = 2
    changed = small_config(small_data, Path("none"), tmp_path / "run", models=models)
    with pytest.raises(ConfigError, match=r"models\.dns\.sampler\.candidates"):
        _run(changed)
    printed = _run(changed, update=True)
    assert "= train/uniform-seed0: up to date" in printed
    assert "> train/dns-seed0" in printed
    assert "> compare" in printed
    assert "> prepare" not in printed


def test_new_source_files_redo_the_run(tmp_path: Path) -> None:
    data = write_files(tmp_path / "data")
    models = {"dns": {"sampler": {"name": "dns"}}}
    config = small_config(data, Path("none"), tmp_path / "run", models=models)
    _run(config)
    write_files(data, seed=1)
    printed = _run(config)
    assert "> prepare" in printed
    assert "> train/dns-seed0" in printed


def test_the_same_data_at_another_place_and_time_redoes_no_training(tmp_path: Path) -> None:
    data = write_files(tmp_path / "data")
    models = {"dns": {"sampler": {"name": "dns"}}}
    config = small_config(data, Path("none"), tmp_path / "run", models=models)
    _run(config)
    moved = data.rename(tmp_path / "moved")
    for file in moved.iterdir():
        os.utime(file, (1, 1))
    config = small_config(moved, Path("none"), tmp_path / "run", models=models)
    printed = _run(config, update=True)
    assert "> prepare" in printed
    assert "= train/dns-seed0: up to date" in printed
    assert "= compare: up to date" in printed


def test_another_wording_redoes_what_depends_on_profiles(small_data: Path, tmp_path: Path) -> None:
    wording = tmp_path / "items.yaml"
    config = small_config(
        small_data,
        Path("none"),
        tmp_path / "run",
        profile={"llm_sample_users": 0, "llm_sample_items": 0, "item_wording": str(wording)},
    )
    keys = []
    for question in ("What is it?", "What is it?", "Who would like it?"):
        text = Wording.read("items").model_copy(update={"question": question}).model_dump_json()
        wording.write_text(text)
        pipeline = Pipeline(config, Reporter(Console(file=io.StringIO())))
        pipeline.run(["prepare"])
        keys.append({name: pipeline.key(name) for name in ("profile", "finetune", "pretrain")})
    assert keys[0] == keys[1]
    assert keys[1]["profile"] != keys[2]["profile"]
    assert keys[1]["finetune"] != keys[2]["finetune"]
    assert keys[1]["pretrain"] == keys[2]["pretrain"]


def test_an_unknown_stage_is_named(small_data: Path, tmp_path: Path) -> None:
    config = small_config(small_data, Path("none"), tmp_path / "run")
    pipeline = Pipeline(config, Reporter(Console(file=io.StringIO())))
    with pytest.raises(ConfigError, match=r"train/best-seed0.*train/dns-seed0"):
        pipeline.run(["train/best-seed0"])


def test_no_space_left_in_a_stage_is_said(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"dns": {"sampler": {"name": "dns"}}}
    config = small_config(small_data, Path("none"), tmp_path / "run", models=models)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("hnlmrec.training.trainer.write_checkpoint", full)
        with pytest.raises(ArtifactError, match="no space is left on the disk while stage train/"):
            _run(config)
    printed = _run(config)
    assert "= prepare: up to date" in printed


def test_examples_mark_held_out_positives(finished: tuple[RunConfig, str]) -> None:
    pipeline = Pipeline(finished[0], Reporter(Console(file=io.StringIO())))
    found = examples(pipeline.context, 5)
    assert len(found) == 5
    interactions = pipeline.context.interactions
    titles = pipeline.context.item_texts.titles()
    for example in found:
        user = interactions.user_ids.to_list().index(example.user_id)
        row = interactions.train[[user]].indices
        assert set(example.liked) <= {titles[item] for item in row}
        assert not set(example.liked) & set(example.synthesised + example.dns)
        for line in example.lines():
            for title in example.held_out:
                if f"{title};" in line or line.endswith(title):
                    assert "nearest" not in line
                    assert "picked" not in line


def test_a_run_of_id_based_models_loads_no_language_package(
    small_data: Path, tmp_path: Path
) -> None:
    tree = small_tree(small_data, Path("none"), tmp_path / "run")
    tree["models"] = {"dns": {"sampler": {"name": "dns"}}}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(tree))
    code = (
        "import sys\nfrom hnlmrec.cli import app\n"
        f"app(['run', {str(path)!r}], standalone_mode=False)\n"
        "loaded = {'transformers', 'peft', 'llguidance'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_expected_counts_are_printed_each_time_and_redo_nothing(tmp_path: Path) -> None:
    data = write_files(tmp_path / "data")
    models = {"dns": {"sampler": {"name": "dns"}}}
    tree = small_tree(data, Path("none"), tmp_path / "run", models=models)

    def run_expecting(expected: dict[str, int | str] | None) -> str:
        section = {**tree["data"], "expected": expected}
        return _run(RunConfig.from_dict({**tree, "data": section}), update=True)

    assert "expected" not in run_expecting(None)
    for users in (N_USERS, 2 * N_USERS):
        printed = run_expecting({"users": users, "source": "a paper"})
        assert ">" not in printed
        lines = printed.splitlines()
        at = lines.index("= prepare: up to date")
        assert lines[at + 1].strip() == "beside the numbers of a paper:"
        assert f"{N_USERS} found, {users} expected" in lines[at + 2]
        assert ("off by more than 1%" in lines[at + 3]) == (users != N_USERS)
    assert "expected" not in run_expecting(None)


def test_what_is_expected_is_not_in_the_key_of_prepared_data(small_data: Path) -> None:
    config = RunConfig.from_dict({"data": {"reader": "table", "path": str(small_data)}})
    # a key more here prepares every data set again
    section = {
        "reader": "table",
        "path": str(small_data),
        "interactions": None,
        "items": None,
        "columns": {},
        "min_rating": 4.0,
        "since": None,
        "until": None,
        "core": 5,
        "split": {"method": "ratio", "valid": 0.1, "test": 0.1, "seed": 0, "train_share": 1.0},
    }
    found = dict(plan(config)["prepare"].section)
    assert [name for name, _, _ in found.pop("files")] == ["interactions.csv", "items.jsonl"]
    assert found == section


def _flawed(folder: Path) -> Path:
    data = write_files(folder)
    with (data / "interactions.csv").open("a") as file:
        file.write("u1,\n")
    return data


def test_strictness_redoes_nothing_and_refuses_what_was_prepared_with_flaws(tmp_path: Path) -> None:
    tree = small_tree(
        _flawed(tmp_path / "data"), Path("none"), tmp_path / "run", models={"dns": {}}
    )

    def prepare(strict: bool) -> str:
        out = io.StringIO()
        config = RunConfig.from_dict({**tree, "data": {**tree["data"], "strict": strict}})
        Pipeline(config, Reporter(Console(file=out, width=200))).run(["prepare"])
        return out.getvalue()

    assert "rows of interactions.csv left out: 1 (item_id is empty: 1)" in prepare(False)
    record = (tmp_path / "run" / "prepare" / "stage.json").read_bytes()
    with pytest.raises(DataError, match=r"1 rows were left out, and data\.strict accepts none"):
        prepare(True)
    assert "= prepare: up to date" in prepare(False)
    assert (tmp_path / "run" / "prepare" / "stage.json").read_bytes() == record


def test_the_option_strict_stops_at_the_first_flaw(tmp_path: Path) -> None:
    tree = small_tree(
        _flawed(tmp_path / "data"), Path("none"), tmp_path / "run", models={"dns": {}}
    )
    tree["evaluation"]["reference"] = "dns"
    (tmp_path / "config.yaml").write_text(json.dumps(tree))
    for command in ("prepare", "run"):
        result = CliRunner().invoke(app, [command, str(tmp_path / "config.yaml"), "--strict"])
        assert isinstance(result.exception, DataError)
        assert "interactions.csv, line " in str(result.exception)
        assert "the item_id is empty" in str(result.exception)
    assert not (tmp_path / "run" / "prepare").exists()


def test_a_run_older_than_a_key_is_no_other_run(small_data: Path, tmp_path: Path) -> None:
    tree = small_tree(small_data, Path("none"), tmp_path / "run", models={"dns": {}})
    config = RunConfig.from_dict(tree)
    Pipeline(config, Reporter(Console(file=io.StringIO()))).run(["prepare"])
    file = tmp_path / "run" / "config.yaml"
    old = yaml.safe_load(file.read_text())
    del old["data"]["strict"], old["training"]["patience"]
    file.write_text(yaml.safe_dump(old))
    Pipeline(config, Reporter(Console(file=io.StringIO())))
    old["data"]["core"] = 3
    file.write_text(yaml.safe_dump(old))
    with pytest.raises(ConfigError, match=r"differs in: data\.core \(there: 3, now: 2\)\."):
        Pipeline(config, Reporter(Console(file=io.StringIO())))
