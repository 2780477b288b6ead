from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from report_cases import study_facts, write_run, write_study

from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.report.figures import figures
from hnlmrec.report.findings import cautions
from hnlmrec.report.frames import numeric_points
from hnlmrec.report.load import load
from hnlmrec.report.run_facts import run_notes
from hnlmrec.report.source import Facts, Source
from synthetic import interactions

OPTIONAL = ("measures", "curves", "groups", "shift")


def _names(folder: Path) -> set[str]:
    return {plot.name for plot in figures(load(folder))}


def test_a_study_gives_every_figure(tmp_path: Path) -> None:
    found = _names(write_study(tmp_path / "study"))
    assert found == {
        "recall-20", "ndcg-20", "curve-valid-recall", "curve-valid-recall-seconds", "fhns-used",
        "fhns-synthesised", "shift-false", "shift-share", "groups-items", "groups-users",
        "cost-language-tokens", "cost-language-seconds", "curve-ranking", "curve-hard-cosine",
    }  # fmt: skip


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_missing_file_takes_its_figures_along_and_nothing_else(tmp_path: Path, name: str) -> None:
    folder = write_study(tmp_path / "study")
    whole = _names(folder)
    (folder / f"{name}.parquet").unlink()
    left = _names(folder)
    assert left < whole
    prefixes = {
        "measures": ("fhns", "cost"),
        "curves": ("curve",),
        "groups": ("groups",),
        "shift": ("shift",),
    }[name]
    assert all(gone.startswith(prefixes) for gone in whole - left)


def test_a_study_may_be_a_summary_alone(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", only_summary=True)
    assert _names(folder) == {"recall-20", "ndcg-20"}
    assert load(folder).run is None


def test_an_empty_frame_is_like_a_missing_one(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study")
    file = folder / "shift.parquet"
    pl.read_parquet(file).clear().write_parquet(file)
    assert not {name for name in _names(folder) if name.startswith("shift")}


def test_points_that_are_no_numbers_are_drawn_as_names(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "study", points=["0", "much"])
    plot = next(plot for plot in figures(load(folder)) if plot.name == "recall-20")
    assert "x" not in plot.data.columns
    folder = write_study(tmp_path / "numbers", points=["1", "0"])
    plot = next(plot for plot in figures(load(folder)) if plot.name == "recall-20")
    assert plot.data.filter(model="dns")["x"].to_list() == [0.0, 1.0]


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a run nor a study"):
        load(tmp_path)
    folder = write_study(tmp_path / "study")
    pl.DataFrame({"point": ["0"]}).write_parquet(folder / "shift.parquet")
    with pytest.raises(ArtifactError, match="columns model, seed"):
        load(folder)
    (folder / "shift.parquet").write_bytes(b"no parquet")
    with pytest.raises(ArtifactError, match="cannot be read"):
        load(folder)
    (folder / "shift.parquet").unlink()
    (folder / "summary.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"summary\.parquet"):
        load(folder)
    (folder / "study.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(ArtifactError, match=r"study\.json"):
        load(folder)


def test_a_run_is_read_as_a_study_of_one_point(run_folder: Path) -> None:
    source = load(run_folder)
    facts = source.facts
    assert (facts.points, facts.models) == (["toys"], ["dns", "hnlmrec", "noise"])
    assert facts.metrics[:2] == ["recall@20", "ndcg@20"]
    per_user = pl.read_parquet(run_folder / "evaluate/dns-seed0/per_user.parquet")
    row = source.summary.filter(model="dns", metric="recall@20").row(0, named=True)
    assert row["mean"] == pytest.approx(per_user["recall@20"].mean())
    assert row["low"] <= row["mean"] <= row["high"]
    assert row["p_t_holm"] is None
    assert source.summary.filter(model="noise")["p_t_holm"].null_count() == 0
    # 700 + 300 of fine-tuning and 50 of encoding: the stages that training was made from
    spent = source.measure("language_tokens")
    assert spent is not None
    assert dict(spent.select("model", "value").rows()) == {
        "dns": 0.0,
        "hnlmrec": 1050.0,
        "noise": 1050.0,
    }
    curve = source.frames["curves"].filter(model="dns", measure="valid_recall")
    assert curve["seconds"].to_list() == [2.0, 4.0, 6.0]


def test_warnings_of_a_run_are_gathered(run_folder: Path) -> None:
    said = cautions(load(run_folder))
    assert "users: 3 profiles are templates, as the language model's answers were rejected" in said
    assert "profile: answers of the language model without use: 3 repeats itself" in said
    assert said[-1] == (
        "train/dns-seed0, train/hnlmrec-seed0, train/noise-seed0: warning: the synthesised "
        "negatives have collapsed"
    )


def test_warnings_of_models_of_other_studies_are_not(run_folder: Path) -> None:
    (warning,) = [one for one in run_notes(run_folder, ["dns"], [0]) if "warning" in one]
    assert warning.startswith("train/dns-seed0: warning")
    assert not [one for one in run_notes(run_folder, [], [0]) if "warning" in one]


def test_a_run_that_is_not_finished_shows_what_is(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", interactions())
    (folder / "evaluate/dns-seed0/stage.json").unlink()
    source = load(folder)
    assert source.facts.models == ["hnlmrec", "noise"]
    assert source.facts.reference == "hnlmrec"
    assert source.notes[:2] == [
        "dns: 0 of 1 seeds are finished",
        "the reference is not finished, so hnlmrec stands in for it",
    ]
    for model in ("hnlmrec", "noise"):
        (folder / f"evaluate/{model}-seed0/stage.json").unlink()
    with pytest.raises(ArtifactError, match="no model of this run is evaluated"):
        load(folder)


def test_users_of_the_same_activity_are_in_the_same_group(run_folder: Path) -> None:
    found = load(run_folder).frames["groups"].filter(model="dns", seed=0)
    groups = found.filter(side="users", metric=found["metric"][0])
    bounds = [tuple(map(int, label.split("-"))) for label in groups["label"]]
    ends = [(bound[0], bound[-1]) for bound in bounds]
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    evaluated = pl.read_parquet(run_folder / "evaluate/dns-seed0/per_user.parquet")
    assert groups["users"].sum() == evaluated.height


def test_points_lie_where_the_study_says_or_where_their_labels_do() -> None:
    axis = {"label": "share", "numeric": True, "log": False}
    facts = study_facts(points=["100 %", "20 %"], axis=axis)
    named = {"100 %": 1.0, "20 %": 0.2}

    def numbers(**more: object) -> list[tuple[str, float]] | None:
        source = Source(Facts.model_validate(facts | more), pl.DataFrame())
        found = numeric_points(source)
        return None if found is None else found.rows()

    assert numbers() is None
    assert numbers(x=named) == [("20 %", 0.2), ("100 %", 1.0)]
    assert numbers(points=["8", "4"]) == [("4", 4.0), ("8", 8.0)]
