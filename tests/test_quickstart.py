from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import hnlmrec
from synthetic import small_tree

ROOT = Path(__file__).parents[1]


def test_the_example_runs_on_ones_own_files(
    small_data: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(ROOT / "examples" / "quickstart.py"))["main"]
    main(small_tree(small_data, tiny_model, tmp_path / "run"))
    printed = capsys.readouterr().out
    assert "recall@10" in printed
    assert printed.rpartition("user u0 may like: ")[2].count("Film") == 5


def test_every_public_name_is_there_and_documented() -> None:
    assert dir(hnlmrec) == hnlmrec.__all__ == sorted(hnlmrec._HOMES)
    for name in hnlmrec.__all__:
        assert getattr(hnlmrec, name).__doc__, name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = hnlmrec.nonsense


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, hnlmrec; assert not {'torch', 'polars', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
