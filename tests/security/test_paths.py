"""Names from configurations and artefacts stay in the folders that they belong to."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from typer.testing import CliRunner

from hnlmrec.artifacts import RECORD, RunFolder, describe_files
from hnlmrec.cli import app
from hnlmrec.config import DataConfig, RunConfig
from hnlmrec.data.prepare import prepare
from hnlmrec.errors import ArtifactError, ConfigError, DataError, HnlmrecError
from hnlmrec.paths import stays_inside
from hnlmrec.pipeline import Pipeline
from hnlmrec.report.load import load
from hnlmrec.report.write import write_report
from hnlmrec.reporting import Reporter
from hnlmrec.studies.run_study import run_study
from synthetic import small_config, small_tree

OUTSIDE = (
    "../x", "../../x", "/tmp/x", "a/../../x", "..", "a/b/../../..", "./../x", "x\0", "\0",
)  # fmt: skip
NO_NAMES = (
    *OUTSIDE, ".", "", "a/b", "a\\b", "..\\x", "~", "~root", "-rf", "--help", " ", "a b", ".hidden",
    "a\nb", "a\n", "\u202ea", "\uff0e\uff0e\uff0fa",
    "%2e%2e%2f", "$HOME", "`id`", "a*", "a?", "a:b",
    "con", "NUL", "Aux.txt", "com1", "LPT9.a.b", "x" * 201,
)  # fmt: skip


def _quiet() -> Reporter:
    return Reporter(Console(file=io.StringIO()))


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_lies_outside_is_known(name: str) -> None:
    for folder in (Path("some"), Path("/some/folder"), Path()):
        assert not stays_inside(folder, name) or name == "/tmp/x"
    assert stays_inside(Path("some"), "a/../b.csv")
    assert stays_inside(Path("some"), "a..b")
    assert stays_inside(Path("/data"), "/data/x.csv")
    assert not stays_inside(Path("/data"), "/database/x.csv")


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_model_cannot_name_another_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models|NUL"):
        RunConfig.from_dict({"run": str(tmp_path), "models": {"dns": {}, name: {}}})


@pytest.mark.parametrize("name", ["hnlmrec", "dns-2", "a..b", "v1.0_x", "7", "console", "x" * 200])
def test_usual_names_are_names(name: str) -> None:
    RunConfig.from_dict({"models": {"dns": {}, name: {}}})


@pytest.mark.parametrize("key", ["run", "data.path", "language.answers", "data.interactions"])
def test_nul_is_refused_wherever_it_is(key: str) -> None:
    section, _, name = key.rpartition(".")
    tree = {section: {name: "a\0b"}} if section else {name: "a\0b"}
    with pytest.raises(ConfigError, match="NUL"):
        RunConfig.from_dict(tree)


@pytest.mark.parametrize("key", ["interactions", "items"])
@pytest.mark.parametrize("name", ["../secret.csv", "../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_data_files_are_below_the_data_s_folder(
    key: str, name: str, small_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.csv").write_text("user_id,item_id\nsecret,secret\n")
    folder = tmp_path / "data"
    shutil.copytree(small_data, folder)
    config = DataConfig.model_validate(
        {"reader": "table", "path": str(folder), "min_rating": None, "core": 1, key: name}
    )
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=rf"data\.{key}.*outside of data\.path") as caught:
        prepare(config, tmp_path / "out")
    assert "root:" not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


def test_data_files_may_be_below_it_or_links(small_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(small_data / "interactions.csv", folder / "sub" / "mine.csv")
    (folder / "items.jsonl").symlink_to(small_data / "items.jsonl")
    for name in ("sub/mine.csv", "sub/../sub/mine.csv", str(folder / "sub/mine.csv")):
        config = DataConfig.model_validate(
            {"reader": "table", "path": str(folder), "min_rating": None, "interactions": name}
        )
        out = tmp_path / f"out{len(name)}"
        out.mkdir(exist_ok=True)
        assert prepare(config, out).items_without_text == 0


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", "prepare"])
def test_commands_know_the_models_of_the_configuration_alone(
    name: str, small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    tree = small_tree(small_data, tiny_model, tmp_path / "run")
    config.write_text(json.dumps(tree))
    result = CliRunner().invoke(app, ["train", str(config), "--model", name])
    assert isinstance(result.exception, ConfigError)
    assert "there is no stage" in str(result.exception)
    across = CliRunner().invoke(
        app, ["across", f"{tmp_path / 'run'}:{name}", "--reference", "dns", "--output", "out"]
    )
    assert isinstance(across.exception, ConfigError)
    assert {path.name for path in tmp_path.iterdir()} == {"run.yaml", "run"}


@pytest.mark.parametrize("name", ["..", "...yaml", "runs.yaml", ".yaml", "-x.yaml", "a b.yaml"])
def test_a_study_names_a_folder_of_its_own(
    name: str, small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    study = {"title": "A", "claim": "B", "reference": "dns"}
    if name != "..":
        (tmp_path / name).write_text(json.dumps(study))
    config = small_config(small_data, tiny_model, tmp_path / "run")
    with pytest.raises(ConfigError):
        run_study(str(tmp_path / name), config, tmp_path / "studies", _quiet(), dataset="d")
    assert not (tmp_path / "studies").exists()
    assert not (tmp_path / "study.json").exists()


@pytest.mark.parametrize("value", ["../../evil", "/etc", "..", "a/b", "\u202e"])
def test_what_a_study_changes_names_no_other_folder(
    value: str, small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """The run folder of a point is named after the values of its changes."""
    from hnlmrec.studies.definition import Study
    from hnlmrec.studies.grid import build_grid

    config = small_config(small_data, tiny_model, tmp_path / "run")
    study = Study.model_validate(
        {
            "title": "A", "claim": "B", "reference": "dns",
            "points": {value: {"run": {"language.model": value}}},
        }
    )  # fmt: skip
    for run in build_grid(study, config, tmp_path / "runs").runs.values():
        assert run.run.parent == tmp_path / "runs"
        assert run.run.name not in ("", ".", "..")


# artefacts from strangers


@pytest.mark.parametrize("name", [*OUTSIDE, "/etc/passwd", "../../../etc/passwd"])
def test_a_record_names_the_stage_s_files_alone(name: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.claim(RunConfig(), update=False)
    with run.write("prepare", "key", {}, {}, []) as work:
        (work / "a.txt").write_text("a")
    file = run.stage("prepare") / RECORD
    record = json.loads(file.read_bytes())
    record["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    file.write_text(json.dumps(record))
    for read in (run.record, run.damaged, run.content, lambda stage: run.up_to_date(stage, "key")):
        with pytest.raises(ArtifactError, match="outside of the stage's folder"):
            read("prepare")


def test_a_study_from_elsewhere_brings_no_other_run(tmp_path: Path) -> None:
    """A study that names a run of one's own gets nothing of it into the report."""
    mine = tmp_path / "private" / "run"
    mine.mkdir(parents=True)
    (mine / "config.yaml").write_text("{}")
    beside = tmp_path / "downloads" / "runs" / "theirs"
    shutil.copytree(mine, beside)
    for name, found in (
        ("../../private/run", None),
        (str(mine), None),
        ("../runs/theirs", beside),
        ("../runs/../runs/theirs", beside),
    ):
        study = _write_study(tmp_path / "downloads" / "study", runs={"1": name})
        run = load(study).run
        assert (run.resolve() if run else None) == found
        shutil.rmtree(study)


def _write_study(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True)
    facts = {
        "name": "x", "title": "X", "points": ["1"], "models": ["a", "b"], "reference": "a",
        "seeds": [0], "metrics": ["recall@20"], **changes,
    }  # fmt: skip
    (folder / "study.json").write_text(json.dumps(facts))
    rows = [
        {
            "point": point, "model": model, "metric": metric, "seeds": 1, "mean": 0.1, "sd": None,
            "low": 0.0, "high": 0.2, "difference": None, "p_t_holm": None,
            "p_wilcoxon_holm": None, "d": None,
        }
        for point in facts["points"] for model in facts["models"] for metric in facts["metrics"]
    ]  # fmt: skip
    frame = pl.DataFrame(rows, infer_schema_length=None)
    numbers = ("sd", "difference", "p_t_holm", "p_wilcoxon_holm", "d")
    frame.with_columns(pl.col(numbers).cast(pl.Float64)).write_parquet(folder / "summary.parquet")
    return folder


def test_a_report_writes_into_its_folder_alone(tmp_path: Path) -> None:
    evil = "../../evil"
    study = _write_study(
        tmp_path / "study",
        name=evil,
        title=evil,
        dataset=evil,
        points=["1", f"{evil}point"],
        models=["a", f"{evil}model"],
        metrics=["recall@20", f"{evil}@20", "/evil@20"],
    )
    (tmp_path / "deep" / "er").mkdir(parents=True)
    out = tmp_path / "deep" / "er" / "out"
    write_report([study, study], out, 0, "hnlmrec report")
    assert (out / "report.html").is_file()
    written = {path for path in tmp_path.rglob("*") if path.is_file() and study not in path.parents}
    assert all(out in path.parents for path in written)
    assert {path.parent for path in written} == {out, out / "figures", out / "tables"}


def test_links_in_a_run_folder_lead_to_no_deletion(
    small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """A stage's folder, or that of its unfinished work, is a link to what is dear."""
    dear = tmp_path / "dear"
    dear.mkdir()
    (dear / "letter.txt").write_text("dear")
    before = describe_files(dear)
    config = small_config(small_data, tiny_model, tmp_path / "run")
    config.run.mkdir()
    for name in ("prepare", "prepare.old", "prepare.partial"):
        link = config.run / name
        link.symlink_to(dear)
        with suppress(HnlmrecError, OSError):  # it may refuse
            Pipeline(config, _quiet()).run(["prepare"])
        assert describe_files(dear) == before, name
        for path in config.run.iterdir():
            path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
