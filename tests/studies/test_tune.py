"""`hnlmrec tune`: choice on validation, resumed, and written as a configuration."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from hnlmrec.cli import app
from hnlmrec.config import RunConfig
from hnlmrec.errors import ConfigError
from hnlmrec.pipeline import Pipeline
from hnlmrec.reporting import Reporter
from hnlmrec.studies.tune import Grid, tune
from synthetic import small_tree, write_files

GRID = {
    "spaces": {
        "uniform": {"training.l2": [1e-3, 0.5]},
        "dns": {"sampler.candidates": [2, 4], "training.lr": [1e-5, 0.02]},
    }
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    data = write_files(tmp_path / "data")
    tree = small_tree(data, tmp_path / "no-model", tmp_path / "run")
    del tree["models"]["hnlmrec"]
    tree["threads"] = 1
    paths = {name: tmp_path / f"{name}.yaml" for name in ("config", "grid", "tuned")}
    paths["config"].write_text(yaml.safe_dump(tree, sort_keys=False))
    paths["grid"].write_text(yaml.safe_dump(GRID, sort_keys=False))
    return {**paths, "run": tmp_path / "run"}


def run_tune(files: dict[str, Path], *more: str) -> str:
    arguments = ["tune", files["config"], "--grid", files["grid"], "--output", files["tuned"]]
    result = CliRunner().invoke(app, [*map(str, arguments), *more], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def trials(files: dict[str, Path]) -> list[dict[str, str]]:
    with (files["run"] / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_best_values_on_validation_are_written(files: dict[str, Path]) -> None:
    run_tune(files)
    rows = trials(files)
    assert [row["model"] for row in rows] == ["uniform"] * 2 + ["dns"] * 4
    tuned = RunConfig.from_yaml(files["tuned"])
    assert tuned.run == files["run"].with_name(files["run"].name + "-tuned")
    for name, keys in GRID["spaces"].items():
        mine = [row for row in rows if row["model"] == name]
        # the last key's trials hold all chosen values of those before it
        last = mine[-len(list(keys.values())[-1]) :]
        best = max(last, key=lambda row: float(row["valid_recall@20"]))
        model = tuned.models[name].model_dump()
        for key, value in json.loads(best["setting"]).items():
            part, field = key.split(".")
            assert model[part][field] == value
    text = files["tuned"].read_text()
    assert text.startswith("# Chosen on validation Recall@20 by\n# hnlmrec ")
    assert tuned.models["uniform"].sampler.name == "uniform"


def test_keys_are_tuned_one_after_another(files: dict[str, Path]) -> None:
    run_tune(files)
    first, second, third, fourth = [
        json.loads(row["setting"]) for row in trials(files) if row["model"] == "dns"
    ]
    assert first == {"sampler.candidates": 2}
    assert second == {"sampler.candidates": 4}
    chosen = third["sampler.candidates"]
    assert third == {"sampler.candidates": chosen, "training.lr": 1e-5}
    assert fourth == {"sampler.candidates": chosen, "training.lr": 0.02}


def test_what_was_tried_is_not_tried_again(files: dict[str, Path]) -> None:
    run_tune(files)
    before = trials(files)
    grid = {"spaces": {**GRID["spaces"], "uniform": {"training.l2": [1e-3, 0.5, 0.1]}}}
    files["grid"].write_text(yaml.safe_dump(grid, sort_keys=False))
    output = run_tune(files)
    assert output.count("> tune/") == 1
    assert [row for row in trials(files) if "0.1}" not in row["setting"]] == before


def test_trials_keep_only_their_report(files: dict[str, Path]) -> None:
    run_tune(files)
    assert not list((files["run"] / "tune").rglob("*.safetensors"))
    assert len(list((files["run"] / "tune").rglob("report.json"))) == 6


def test_changes_of_the_command_line_reach_the_written_file(files: dict[str, Path]) -> None:
    run_tune(files, "--set", "training.batch_size=32")
    assert RunConfig.from_yaml(files["tuned"]).models["dns"].training.batch_size == 32


def test_test_labels_leave_no_trace(files: dict[str, Path]) -> None:
    def chosen(swap: bool) -> object:
        config = RunConfig.from_yaml(files["config"], {"run": str(files["run"].with_name("x"))})
        pipeline = Pipeline(config, Reporter(Console(quiet=True)), update=True)
        pipeline.run(["prepare"])
        if swap:
            data = pipeline.context.interactions
            object.__setattr__(data, "test", data.test[::-1])
        choices = list(tune(pipeline, Grid.model_validate(GRID)))
        return [choice.values for choice in choices], [
            row for choice in choices for row in choice.trials
        ]

    plain = chosen(False)
    # trials are stages: they must be made anew to see other labels
    shutil.rmtree(files["run"].with_name("x") / "tune")
    swapped = chosen(True)
    assert plain[0] == swapped[0]
    without_time = [[{**row, "seconds": 0} for row in rows] for rows in (plain[1], swapped[1])]
    assert without_time[0] == without_time[1]


@pytest.mark.parametrize(
    ("grid", "parts"),
    [
        ({"spaces": {"dsn": {"training.l2": [1]}}}, ["dsn", "uniform, dns"]),
        ({"spaces": {"dns": {"training.l2": []}}}, ["training.l2"]),
        ({"spaces": {"dns": {"sampler.top": [9]}}}, ["dns", "sampler", "top is 9"]),
        ({"spaces": {"dns": {"training.speed": [1]}}}, ["training.speed", "no such key"]),
        ({"space": {}}, ["space", "no such key"]),
    ],
)
def test_a_wrong_grid_says_what_is_wrong(
    files: dict[str, Path], grid: dict[str, object], parts: list[str]
) -> None:
    files["grid"].write_text(yaml.safe_dump(grid, sort_keys=False))
    with pytest.raises(ConfigError) as error:
        run_tune(files)
    for part in parts:
        assert part in str(error.value)
