"""Stages that train, by workers of Ray Train: the same run as in one process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from polars.testing import assert_frame_equal
from safetensors.torch import load_file
from torch.testing import assert_close

from hnlmrec.config import RunConfig, merge
from hnlmrec.config.engine import EngineConfig
from hnlmrec.errors import HnlmrecError
from language_cases import pipeline_of
from synthetic import small_tree

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")
TWO = {"engine": {"name": "ray", "workers": 2, "max_failures": 1}}
# sums in another order, carried on by three epochs
ROUNDING = 1e-4


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray of two cores, for all tests of this file."""
    pytest.importorskip("ray", reason="needs the ray extra")
    from hnlmrec.distributed.ray_cluster import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 2)
        with cluster(EngineConfig(name="ray", workers=2)):
            yield


def _config(data: Path, model: Path, run: Path, **changes: Any) -> RunConfig:
    tree = small_tree(data, model, run, threads=1)
    tree["models"] = {"hnlmrec": tree["models"]["hnlmrec"]}
    tree["evaluation"]["reference"] = "hnlmrec"
    return RunConfig.from_dict(merge(tree, changes))


# all stages that train take a minute more than this one
@pytest.mark.parametrize(
    "stages",
    [
        ["train"],
        pytest.param(["pretrain", "finetune", "train", "evaluate"], marks=pytest.mark.slow),
    ],
)
def test_workers_train_what_one_process_trains(
    stages: list[str], small_data: Path, tiny_model: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # paths of a configuration begin where the command is called, in workers too
    monkeypatch.chdir(small_data.parent)
    small_data = Path(small_data.name)
    one, two = tmp_path / "one", tmp_path / "two"
    pipeline_of(_config(small_data, tiny_model, one))[0].run(["compare"])
    shutil.copytree(one, two)
    for stage in stages:
        shutil.rmtree(two / stage)
    pipeline, out = pipeline_of(_config(small_data, tiny_model, two, **TWO))
    pipeline.run(["compare"])
    assert "best epoch" in out.getvalue()
    for stage, file in (
        ("pretrain", "embeddings.safetensors"),
        ("finetune", "adapter.safetensors"),
        ("train/hnlmrec-seed0", "model.safetensors"),
    ):
        expected, found = load_file(one / stage / file), load_file(two / stage / file)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert_close(found[name], tensor, atol=ROUNDING, rtol=ROUNDING, msg=f"{stage}: {name}")
    rows = [pl.read_parquet(run / "evaluate/hnlmrec-seed0/per_user.parquet") for run in (one, two)]
    assert_frame_equal(*rows)
    # nothing of Ray's stays there, and one process goes on with the run as its own
    assert not [path for path in two.rglob("*ray*") if path.is_dir()]
    pipeline, out = pipeline_of(_config(small_data, tiny_model, two))
    pipeline.run(["compare"])
    assert "> " not in out.getvalue()


@pytest.mark.slow
def test_the_error_of_a_worker_is_that_of_the_stage(small_data: Path, tmp_path: Path) -> None:
    config = _config(
        small_data, tmp_path, tmp_path / "run",
        models={"dns": {"sampler": {"name": "dns"}}}, training={"lr": 1e30}, **TWO,
    )  # fmt: skip
    with pytest.raises(HnlmrecError, match="not finite") as caught:
        pipeline_of(config)[0].run(["train/dns-seed0"])
    assert "training.lr" in str(caught.value.mend)


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_the_epochs_since_the_checkpoint(
    small_data: Path, tmp_path: Path
) -> None:
    def command(name: str, *more: str) -> list[str]:
        config = _config(
            small_data, tmp_path, tmp_path / name, models={"dns": {}},
            training={"epochs": 3000, "patience": 3000},
        )  # fmt: skip
        file = tmp_path / f"{name}.yaml"
        file.write_text(config.to_yaml())
        return [sys.executable, "-m", "hnlmrec", "train", str(file), "--model", "dns", *more]

    subprocess.run(command("one"), check=True)
    running = subprocess.Popen(command("two", "--engine", "ray"))
    checkpoint = tmp_path / "two/train/dns-seed0.partial/checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.02)
    workers = [
        child
        for child in psutil.Process(running.pid).children(recursive=True)
        if "RayTrainWorker" in " ".join(child.cmdline())
    ]
    os.kill(workers[-1].pid, signal.SIGKILL)
    assert running.wait(timeout=240) == 0
    found, expected = (
        load_file(tmp_path / name / "train/dns-seed0/model.safetensors") for name in ("two", "one")
    )
    for name, tensor in expected.items():
        assert_close(found[name], tensor, atol=1e-2, rtol=1e-2)
