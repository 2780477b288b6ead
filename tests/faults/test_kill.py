"""A real SIGKILL in the middle of a stage, and the same metrics after going on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthetic import small_tree

# of patience: a busy machine takes many times as long as a quiet one
SECONDS = 300.0


def _start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hnlmrec", "run", str(config)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _tree(data: Path, run: Path) -> dict[str, object]:
    tree = small_tree(data, Path("none"), run)
    tree["models"] = {"dns": {"sampler": {"name": "dns"}}}
    tree["training"] = {"epochs": 60, "batch_size": 16, "evaluate_every": 2, "patience": 50}
    return tree


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_killed_in_training_a_run_ends_with_the_same_metrics(
    small_data: Path, tmp_path: Path
) -> None:
    for name in ("whole", "killed"):
        (tmp_path / f"{name}.json").write_text(json.dumps(_tree(small_data, tmp_path / name)))
    whole = _start(tmp_path / "whole.json")
    assert whole.wait(SECONDS) == 0

    process = _start(tmp_path / "killed.json")
    checkpoint = tmp_path / "killed" / "train" / "dns-seed0.partial" / "checkpoint.safetensors"
    deadline = time.monotonic() + SECONDS
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait(SECONDS) == -signal.SIGKILL
    assert not (tmp_path / "killed" / "compare").exists()

    assert _start(tmp_path / "killed.json").wait(SECONDS) == 0
    tables = [(tmp_path / n / "compare" / "table.csv").read_text() for n in ("whole", "killed")]
    assert tables[0] == tables[1]
    assert not list((tmp_path / "killed").rglob("*.partial"))
