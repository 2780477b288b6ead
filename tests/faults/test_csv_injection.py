"""What a spreadsheet would run as a formula: no CSV that is written holds text of the data."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from hnlmrec.config import RunConfig
from hnlmrec.pipeline import Pipeline
from hnlmrec.report.write import write_report
from hnlmrec.reporting import Reporter
from hnlmrec.studies.trials import run_trials
from synthetic import pairs, small_tree

MARK = "cmd|' /C calc'!A0"


def _is_formula(cell: str) -> bool:
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        float(cell)
    except ValueError:
        # a dash alone stands for no value
        return cell != "-"
    return False


@pytest.mark.filterwarnings("ignore:Precision loss occurred")
def test_ids_and_titles_reach_no_csv(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    users, items = pairs(0)
    starts = "=+-@"
    rows = [
        f"{starts[u % 4]}{MARK}{u},{starts[i % 4]}{MARK}{i}"
        for u, i in zip(users, items, strict=True)
    ]
    (data / "interactions.csv").write_text("\n".join(["user_id,item_id", *rows]))
    with (data / "items.jsonl").open("w") as file:
        for i in sorted(set(items)):
            name = f"{starts[i % 4]}{MARK}{i}"
            file.write(json.dumps({"item_id": name, "title": f"={name}", "brand": name}) + "\n")
    models = {"dns": {"sampler": {"name": "dns"}}, "uniform": {}}
    config = RunConfig.from_dict(small_tree(data, Path("none"), tmp_path / "run", models=models))
    pipeline = Pipeline(config, Reporter(Console(file=io.StringIO())))
    pipeline.run(["compare"])
    run_trials(pipeline)
    write_report([tmp_path / "run"], tmp_path / "report", 5, "hnlmrec report")
    files = [*(tmp_path / "run").rglob("*.csv"), *(tmp_path / "report").rglob("*.csv")]
    assert len(files) > 6
    for path in files:
        text = path.read_text()
        assert MARK not in text, path
        formulas = [
            cell for row in csv.reader(io.StringIO(text)) for cell in row if _is_formula(cell)
        ]
        assert not formulas, path
