from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from report_cases import HOSTILE, write_study
from typer.testing import CliRunner

from hnlmrec.cli import app
from hnlmrec.errors import ModelError
from hnlmrec.report.figures import figures
from hnlmrec.report.load import load
from hnlmrec.report.plot import drawn
from hnlmrec.report.style import inline_svg, looks
from hnlmrec.report.write import write_report


def test_the_command_writes_page_figures_and_tables(run_folder: Path, tmp_path: Path) -> None:
    arguments = ["report", str(run_folder), "--output", str(tmp_path / "out"), "--users", "7"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "note: One seed" in result.output
    page = (tmp_path / "out/report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "a random sample of 7 of its 40 users" in page
    tables = {file.name for file in (tmp_path / "out/tables").iterdir()}
    assert {"metrics.csv", "metrics.tex", "stages.tex", "summary.csv"} <= tables
    for form, sign in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        assert (tmp_path / f"out/figures/recall-20.{form}").read_bytes().startswith(sign)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    for name in "ab":
        write_report([study], tmp_path / name, 0, "hnlmrec report")
    for file in (tmp_path / "a").rglob("*.*"):
        other = tmp_path / "b" / file.relative_to(tmp_path / "a")
        assert file.read_bytes() == other.read_bytes(), file.name


def test_several_sources_share_a_page_and_no_file(run_folder: Path, tmp_path: Path) -> None:
    study = write_study(tmp_path / "one", title="One & all")
    shutil.copytree(run_folder, tmp_path / "runs" / "toys")
    other = write_study(tmp_path / "two", runs={"0.1": "../runs/toys"})
    out = tmp_path / "out"
    write_report([study, other, run_folder], out, 5, "hnlmrec report")
    page = (out / "report.html").read_text()
    assert "<h1>3 runs and studies</h1>" in page
    # the first screen says what each found, and on which data
    overview = page[: page.index("<main")]
    assert "One &amp; all (toys)" in overview
    assert overview.count("in recall@20 with") == 3
    # a study shows the run of its first point
    assert page.count('class="explorer"') == 2
    names = {file.name for file in (out / "tables").glob("*metrics.csv")}
    assert {"toy-metrics.csv", "toy-2-metrics.csv", "toys-metrics.csv"} <= names
    ids = re.findall(r'\sid="([^"]*)"', page)
    assert len(ids) == len(set(ids))


def test_text_of_a_study_is_escaped(tmp_path: Path) -> None:
    bad = HOSTILE[0]
    study = write_study(
        tmp_path / "study", title=bad, claim=bad, dataset=bad, models=["dns", bad], command=bad,
        axis={"label": bad, "numeric": False}, points=[bad, HOSTILE[2]], versions={bad: bad},
        config={"a": bad}, name=bad,
    )  # fmt: skip
    write_report([study], tmp_path / "out", 10, bad)
    page = (tmp_path / "out/report.html").read_text()
    assert bad not in page
    assert page.count("<script") == 1  # there is no explorer, whose data is the other one
    assert "&lt;script&gt;" in page
    assert all("/" not in file.name for file in (tmp_path / "out/tables").iterdir())
    tex = (tmp_path / "out/tables/recall-20.tex").read_text()
    assert r"\textless{}script\textgreater{}" in tex


def test_an_explorer_that_cannot_be_made_leaves_the_rest(run_folder: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    (folder / "train/hnlmrec-seed0/model.safetensors").unlink()
    write_report([folder], tmp_path / "out", 10, "hnlmrec report")
    page = (tmp_path / "out/report.html").read_text()
    assert "There is none: " in page
    assert "hnlmrec train" in page
    assert 'class="explorer"' not in page


def test_a_missing_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study(tmp_path / "study")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ModelError, match=r"hnlmrec\[report\]"):
        write_report([study], tmp_path / "out", 0, "")


def test_figures_in_the_page_follow_its_theme_and_its_policy(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", models=["dns", "a $x$", "_b"])
    for plot in figures(load(study)):
        with drawn(plot, as_text=True) as figure:
            svg = inline_svg(figure, "f", plot.alt)
        root = ET.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-label") == plot.alt
        assert " style=" not in svg
        assert "<style" not in svg
        # no colour that a theme does not have
        assert not re.findall(r'"#[0-9a-fA-F]{3,8}"', svg)
        names = {element.get("id") for element in root.iter()} - {None}
        assert all(name.startswith("f-") for name in names)
        used = re.findall(r'(?:href="|url\()#([^")]+)', svg)
        assert set(used) <= names
    assert ">a $x$<" in svg


def test_curves_in_the_page_are_those_of_the_file_to_a_hundredth_of_a_point(
    tmp_path: Path,
) -> None:
    def numbers(svg: str) -> list[float]:
        found = re.findall(r"-?\d+\.?\d*", " ".join(re.findall(r' d="([^"]*)"', svg)))
        return [float(number) for number in found]

    plot = figures(load(write_study(tmp_path / "study")))[0]
    with drawn(plot, as_text=True) as figure:
        page = inline_svg(figure, "f", plot.alt)
        figure.savefig(tmp_path / "figure.svg", transparent=True)
    assert numbers(page) == pytest.approx(
        numbers((tmp_path / "figure.svg").read_text()), abs=0.0051
    )


def test_a_title_of_ones_own_heads_the_page(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study")
    write_report([study], tmp_path / "out", 0, "", "Ours <b>")
    page = (tmp_path / "out/report.html").read_text()
    assert "<h1>Ours &lt;b&gt;</h1>" in page
    assert "<title>Ours &lt;b&gt;" in page


def test_alt_text_gives_values_or_ranges(tmp_path: Path) -> None:
    plots = {plot.name: plot for plot in figures(load(write_study(tmp_path / "study")))}
    assert plots["recall-20"].alt == "recall@20: dns 0.1, hnlmrec 0.11, noise 0.12."
    assert "hnlmrec from 0.01 to 0.01" not in plots["shift-false"].alt
    assert "dns from 0 to 0.04" in plots["shift-false"].alt


def test_models_differ_in_colour_or_marker_and_the_reference_is_ink() -> None:
    models = [f"m{n}" for n in range(30)]
    found = looks(models, "m4")
    assert len({(look.colour, look.marker) for look in found.values()}) == 30
    assert found["m4"].colour == "#1b1f24"
    assert [name for name, look in found.items() if look.colour == "#1b1f24"] == ["m4"]


def test_many_models_are_thinned_in_lines_and_never_in_bars(tmp_path: Path) -> None:
    models = ["dns", *(f"m{n}" for n in range(14))]
    study = write_study(tmp_path / "study", models=models)
    plots = {plot.name: plot for plot in figures(load(study))}
    assert plots["recall-20"].data["model"].n_unique() == 15
    lines = plots["curve-valid-recall"]
    assert lines.data["model"].n_unique() == 8
    assert "8 of 15 models" in lines.caption
    assert {"dns", "m13"} <= set(lines.data["model"])
