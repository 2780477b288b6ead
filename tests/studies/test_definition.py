"""Studies as they are written down."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hnlmrec.cli import app
from hnlmrec.errors import ConfigError
from hnlmrec.studies.definition import Study, study_names

PAPER = {
    "ablation", "convergence", "cost", "false-negatives", "llm-size", "main-table",
    "negative-size", "noise-control", "popularity", "sparsity", "theory", "transfer",
}  # fmt: skip


def test_every_study_of_the_paper_is_there_and_valid() -> None:
    assert set(study_names()) == PAPER
    assert {name for name in PAPER if Study.load(name).needs_source} == {"transfer"}


def test_the_list_says_what_each_claims() -> None:
    result = CliRunner().invoke(app, ["studies"], catch_exceptions=False)
    assert result.exit_code == 0
    for name in PAPER:
        assert f"{name}: {Study.load(name).title}" in result.output


def test_a_study_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    tree = {"title": "Mine", "claim": "c", "reference": "a", "models": {"a": {}}}
    file.write_text(yaml.safe_dump(tree))
    assert Study.load(str(file)).title == "Mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": {"training.lr": 1}}, "training.lr belongs under model"),
        ({"points": {"a": {"run": {"models.x": 1}}}}, "belongs under model"),
        ({"axis": {"numeric": True}}, "every point needs an x"),
        ({"reference": "b"}, "is none of the models"),
        ({"quick": {"points": ["z"]}}, "names z, which are no points"),
        ({"modles": {}}, "there is no such key"),
    ],
)
def test_what_is_wrong_in_a_study_is_named(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    tree = {"title": "Mine", "claim": "c", "reference": "a", "models": {"a": {}}} | change
    file.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=message):
        Study.load(str(file))


def test_a_name_that_is_none_is_answered_by_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no study 'sparse'; there are ablation, .*sparsity"):
        Study.load("sparse")
