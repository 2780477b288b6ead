"""`hnlmrec trials`: a log of all models by validation alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from hnlmrec.cli import app
from synthetic import small_tree, write_files


def test_all_models_are_listed_by_validation_and_nothing_is_evaluated(tmp_path: Path) -> None:
    data = write_files(tmp_path / "data")
    tree = small_tree(data, tmp_path / "no-model", tmp_path / "run")
    del tree["models"]["hnlmrec"]
    tree |= {"threads": 1, "seeds": [0, 3]}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree))
    result = CliRunner().invoke(app, ["trials", str(config)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    with (tmp_path / "run" / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == set(tree["models"])
    found = [float(row["valid_recall@20"]) for row in rows]
    assert found == sorted(found, reverse=True)
    for row in rows:
        reports = [
            json.loads(
                (tmp_path / "run" / "train" / f"{row['model']}-seed{n}" / "report.json").read_text()
            )
            for n in (0, 3)
        ]
        recalls = [report["valid_recall"] for report in reports]
        assert float(row["valid_recall@20"]) == pytest.approx(np.mean(recalls))
        assert float(row["sd"]) == pytest.approx(np.std(recalls, ddof=1))
        assert row["model"] in result.output
    assert not (tmp_path / "run" / "evaluate").exists()
