"""`hnlmrec across`: one table of models of several runs."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hnlmrec.cli import app
from hnlmrec.errors import HnlmrecError
from synthetic import small_tree, write_files


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of the same data, one of other data, one without evaluation, one out of date."""
    folder = tmp_path_factory.mktemp("across")
    data = write_files(folder / "data")
    tree = small_tree(data, folder / "no-model", folder / "run")
    tree["models"] = {name: tree["models"][name] for name in ("uniform", "dns")}
    tree["threads"] = 1
    (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    config = folder / "config.yaml"
    call("compare", config, "--run", folder / "a")
    call("compare", config, "--run", folder / "b", "--set", "training.lr=0.5")
    call("compare", config, "--run", folder / "c", "--set", "data.core=1")
    call("prepare", config, "--run", folder / "d")
    call("compare", config, "--run", folder / "e")
    # another configuration was put into the folder, and its models were not trained yet
    call("prepare", config, "--run", folder / "e", "--set", "training.lr=0.5", "--update")
    return folder


def rows(folder: Path, name: str) -> dict[str, dict[str, str]]:
    with (folder / name).open() as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def test_models_of_two_runs_come_into_one_table(runs: Path, tmp_path: Path) -> None:
    printed = call(
        "across", runs / "a", f"{runs / 'b'}:dns", "--reference", "dns@a", "--output", tmp_path
    )
    table = rows(tmp_path, "table.csv")
    assert list(table) == ["uniform", "dns@a", "dns@b"]
    assert "dns@a (reference)" in printed
    one, other = (rows(runs / name / "compare", "table.csv") for name in "ab")
    for metric in ("recall@10", "ndcg@5"):
        assert table["uniform"][metric] == one["uniform"][metric]
        assert table["dns@b"][metric] == other["dns"][metric] != one["dns"][metric]
    # against the run's own reference the tests are those of its own table, but for Holm
    tests = rows(tmp_path, "tests.csv")
    assert tests["uniform"]["p_t"] == rows(runs / "a" / "compare", "tests.csv")["uniform"]["p_t"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{}/a", "{}/c"], "not that of"),
        (["{}/a", "{}/d"], "is not evaluated"),
        (["{}/a", "{}/e"], "under other settings"),
        (["{}/a", "{}/nowhere"], "no run here"),
        (["{}/a:mixgcf"], "no model 'mixgcf'"),
        (["{}/a", "{}/a"], "two rows would be called"),
        (["{}/a", "--reference", "bpr"], "no 'bpr' to test against"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments: list[str], message: str, runs: Path, tmp_path: Path
) -> None:
    given = [argument.format(runs) for argument in arguments]
    if "--reference" not in given:
        given += ["--reference", "dns"]
    with pytest.raises(HnlmrecError, match=message):
        call("across", *given, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_evaluation_is_not_compared(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "a", tmp_path / "a")
    file = tmp_path / "a" / "evaluate" / "dns-seed0" / "per_user.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    words = ("across", tmp_path / "a", "--reference", "dns", "--output", tmp_path / "out")
    with pytest.raises(HnlmrecError, match=r"evaluate/dns-seed0 is damaged.*per_user\.parquet"):
        call(*words)
    call("evaluate", tmp_path / "a")
    call(*words)
    assert not (tmp_path / "out" / ".lock.holder").exists()
