"""A real SIGKILL of one of two processes that fine-tune, which torchrun starts anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synthetic import small_tree

SECONDS = 300.0
ADAPTER = Path("finetune", "adapter.safetensors")


def _start(config: Path) -> subprocess.Popen[bytes]:
    # each attempt has a port of its own
    started = ["--standalone", "--nproc-per-node", "2", "--max-restarts", "2"]
    command = [sys.executable, "-m", "torch.distributed.run", *started, "-m", "--"]
    return subprocess.Popen(
        [*command, "hnlmrec", "finetune", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _configured(run: Path, data: Path, model: Path) -> Path:
    tree = small_tree(data, model, run)
    tree["synthesis"]["finetune"] |= {"steps": 40, "micro_batch": 2}
    config = run.with_suffix(".json")
    config.write_text(json.dumps(tree))
    return config


def _child(parent: int, rank: int) -> int:
    """The process of a rank that a torchrun started."""
    for task in Path(f"/proc/{parent}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
                return child
    raise AssertionError(f"no process of rank {rank}")


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        said = process.communicate(timeout=SECONDS)[1]
        assert process.returncode == 0, said.decode()
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in Linux's /proc")
def test_killed_while_two_fine_tune_a_run_ends_with_the_same_adapter(
    small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    _end(_start(_configured(whole, small_data, tiny_model)))
    for rank in (0, 1):
        run = tmp_path / f"killed-{rank}"
        process = _start(_configured(run, small_data, tiny_model))
        checkpoint = run / "finetune.partial" / "lora.checkpoint"
        deadline = time.monotonic() + SECONDS
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(_child(process.pid, rank), signal.SIGKILL)
        assert not (run / ADAPTER).exists()
        _end(process)
        assert (run / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()
