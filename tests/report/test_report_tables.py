from __future__ import annotations

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from report_cases import HOSTILE, study_facts, summary_frame, write_study

from hnlmrec.report.load import load
from hnlmrec.report.source import Facts, Source
from hnlmrec.report.tables import (
    Cell,
    Table,
    latex_text,
    main_tables,
    measure_tables,
    number,
    stars,
)


def _source(**changes: object) -> Source:
    facts = study_facts(**changes)
    return Source(Facts.model_validate(facts), summary_frame(facts))


def _cells(table: Table) -> dict[str, list[Cell]]:
    return dict(table.rows)


def test_best_and_second_best_are_by_unrounded_means_and_equal_ones_share_a_place() -> None:
    source = _source(models=["dns", "a", "b", "c"], metrics=["recall@20"])
    means = {"dns": 0.10001, "a": 0.10002, "b": 0.10002, "c": 0.09}
    summary = source.summary.with_columns(
        mean=pl.col("model").replace_strict(means, return_dtype=pl.Float64)
    )
    table = main_tables(Source(source.facts, summary))[0]
    places = {name: cells[0].place for name, cells in table.rows}
    assert places == {"dns (reference)": 2, "a": 1, "b": 1, "c": 0}


def test_one_point_has_a_row_a_model_and_a_column_a_metric() -> None:
    main, more = main_tables(_source(metrics=["recall@20", "hr@20", "ndcg@20"]))
    assert main.header == ["model", "recall@20", "ndcg@20"]
    assert more.header == ["model", "hr@20"]
    # the contract's numbers: 0.1 + 0.01 for the second model, p = .004 after Holm
    assert _cells(main)["hnlmrec"][0] == Cell("0.1100", "0.0020", "**", 2)
    assert _cells(main)["noise"][0] == Cell("0.1200", "0.0020", "", 1)


def test_several_points_have_a_table_a_metric_and_a_column_a_point() -> None:
    tables = main_tables(_source(points=["0", "1"]))
    assert [table.name for table in tables] == ["recall-20", "ndcg-20"]
    assert tables[0].header == ["model", "0", "1"]
    assert [cell.text for cell in _cells(tables[0])["hnlmrec"]] == ["0.1100", "0.1300"]


def test_a_model_that_was_not_measured_at_a_point_has_a_dash() -> None:
    source = _source(points=["0", "1"])
    summary = source.summary.filter(~((pl.col("model") == "noise") & (pl.col("point") == "1")))
    table = main_tables(Source(source.facts, summary))[0]
    assert [cell.text for cell in _cells(table)["noise"]] == ["0.1200", "-"]
    assert _cells(table)["hnlmrec"][1].place == 1


@pytest.mark.parametrize(
    ("p", "mark"), [(None, ""), (0.05, ""), (0.049, "*"), (0.01, "*"), (0.0099, "**")]
)
def test_stars_are_strict(p: float | None, mark: str) -> None:
    assert stars(p) == mark


def test_numbers_that_are_none_are_dashes() -> None:
    assert number(None, 2) == number(float("nan"), 2) == "-"
    assert number(12345.678, 1) == "12,345.7"


def test_latex_text_prints_specials_as_they_are() -> None:
    assert latex_text(r"50% & $x_1^2$ #{~} \a") == (
        r"50\% \& \$x\_1\textasciicircum{}2\$ \#\{\textasciitilde{}\} \textbackslash{}a"
    )
    assert latex_text("a ± b\n c") == r"a $\pm$ b c"


def test_latex_is_booktabs_with_marks() -> None:
    cells = [
        ("a", [Cell("0.2", "0.01", "*", 1)]),
        (HOSTILE[4], [Cell("0.1", place=2)]),
        ("c", [Cell("-")]),
    ]
    lines = Table("t", "Cap & tion", ["model", "r@20"], cells).latex().splitlines()
    assert r"  \caption{Cap \& tion}" in lines
    assert r"  \begin{tabular}{lr}" in lines
    assert r"    a & \textbf{0.2} {\scriptsize $\pm$ 0.01}$^{*}$ \\" in lines
    assert any(line.endswith(r"& \underline{0.1} \\") for line in lines)
    assert [line.strip() for line in lines if "rule" in line] == [
        r"\toprule", r"\midrule", r"\bottomrule",
    ]  # fmt: skip
    # every row has as many columns as the header
    assert {line.replace(r"\&", "").count("&") for line in lines if line.endswith(r"\\")} == {1}


def test_csv_has_a_column_for_a_spread_and_keeps_any_name() -> None:
    cells = [(HOSTILE[2], [Cell("0.2", "0.01"), Cell("3")]), ("b", [Cell("0.1"), Cell("4")])]
    rows = list(csv.reader(io.StringIO(Table("t", "", ["model", "r", "n"], cells).csv())))
    assert rows == [
        ["model", "r", "r sd", "n"],
        [HOSTILE[2], "0.2", "0.01", "3"],
        ["b", "0.1", "", "4"],
    ]


def test_measures_are_means_over_seeds(tmp_path: Path) -> None:
    source = load(write_study(tmp_path / "study"))
    diagnostics, costs = measure_tables(source, "0.1")
    row = dict(zip(diagnostics.header[1:], _cells(diagnostics)["hnlmrec"], strict=True))
    assert row["FHNS, used"] == Cell("3.00", "0.00")
    tokens = costs.header.index("language tokens") - 1
    assert _cells(costs)["hnlmrec"][tokens].text == "300,000"
    assert _cells(costs)["dns"][tokens] == Cell("-")
    assert measure_tables(source, "another point") == []
