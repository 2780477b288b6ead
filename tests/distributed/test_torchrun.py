"""`torchrun ... -m hnlmrec` does what `hnlmrec` does, and goes on when a process is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from hnlmrec.config import RunConfig
from hnlmrec.pipeline import Pipeline
from hnlmrec.training import TrainReport
from quiet import quiet
from synthetic import small_tree

# of patience: a busy machine takes many times as long as a quiet one
SECONDS = 300.0
_TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def _start(config: Path, *options: str, command: str = "evaluate") -> subprocess.Popen[str]:
    call = [sys.executable, *_TORCHRUN, *options, "-m", "--", "hnlmrec", command, str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def _finish(process: subprocess.Popen[str]) -> str:
    try:
        printed, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, printed
    return printed


def _config(data: Path, run: Path, **changes: Any) -> Path:
    tree = small_tree(data, Path("none"), run, **changes)
    path = run.with_suffix(".json")
    path.write_text(json.dumps(tree))
    return path


def _rows(run: Path, model: str) -> pl.DataFrame:
    return pl.read_parquet(run / "evaluate" / f"{model}-seed0" / "per_user.parquet")


def _report(run: Path, model: str) -> TrainReport:
    file = run / "train" / f"{model}-seed0" / "report.json"
    return TrainReport.model_validate_json(file.read_bytes())


MODELS = {
    "dns": {"sampler": {"name": "dns", "candidates": 4}},
    "mf": {"backbone": {"name": "mf"}, "training": {"optimizer": "lazy_adam"}},
}


def _agree(one: Path, several: Path, model: str) -> None:
    expected, found = (_report(run, model) for run in (one, several))
    assert found.best_epoch == expected.best_epoch
    for row, other in zip(found.history, expected.history, strict=True):
        assert row == pytest.approx(other, rel=1e-3)
    assert_frame_equal(_rows(several, model), _rows(one, model), abs_tol=1e-6)


def test_what_is_of_one_process_is_refused_to_several() -> None:
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "1"}
    call = [sys.executable, "-m", "hnlmrec", "studies"]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "hnlmrec studies is the work of one process" in done.stderr


def test_a_run_of_two_processes_is_that_of_one(small_data: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        _config(small_data, tmp_path / name, models=MODELS)
    one = Pipeline(RunConfig.from_yaml(tmp_path / "one.json"), quiet())
    one.run([name for name in one.stages if name.startswith("evaluate/")])
    printed = _finish(_start(tmp_path / "two.json"))
    # the first process alone prints
    assert printed.count("best epoch") == len(MODELS)
    for model in MODELS:
        _agree(tmp_path / "one", tmp_path / "two", model)
    # and it is the same run: for one process all of it is up to date
    two = Pipeline(RunConfig.from_yaml(tmp_path / "two.json"), quiet())
    assert all(two.is_done(name) for name in two.stages if name.startswith("evaluate/"))


def _worker(agent: int, rank: int) -> int | None:
    """The process of that rank that an agent of torchrun started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "status").read_text()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"\nPPid:\t{agent}\n" in status and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    return None


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc")
@pytest.mark.parametrize("parallel", ["data", "columns"])
def test_a_run_outlives_one_of_its_two_processes(
    small_data: Path, tmp_path: Path, parallel: str
) -> None:
    training = {"epochs": 60, "batch_size": 16, "evaluate_every": 2, "patience": 50}
    for name in ("whole", "killed"):
        _config(
            small_data,
            tmp_path / name,
            models={"dns": MODELS["dns"]},
            training=training,
            engine={"parallel": parallel},
        )
    _finish(_start(tmp_path / "whole.json"))
    process = _start(tmp_path / "killed.json", "--max-restarts", "2")
    checkpoint = tmp_path / "killed" / "train" / "dns-seed0.partial" / "checkpoint.safetensors"
    deadline = time.monotonic() + SECONDS
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    worker = _worker(process.pid, 1)
    assert worker is not None
    os.kill(worker, signal.SIGKILL)
    _finish(process)
    assert_frame_equal(_rows(tmp_path / "killed", "dns"), _rows(tmp_path / "whole", "dns"))
    assert not list((tmp_path / "killed").rglob("*.partial"))
