"""The same seed gives the same bits: in another process, and with another number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from determinism_probe import MODELS

# the contrastive loss of these is a product of large matrices and sums over their rows, which
# torch and MKL divide among threads and add up in another order
NOT_ACROSS_THREADS = {"simgcl"}


def _probe(threads: int, hash_seed: int) -> dict[str, Any]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONHASHSEED": str(hash_seed),
    }
    probe = Path(__file__).with_name("determinism_probe.py")
    done = subprocess.run(
        [sys.executable, str(probe), str(threads)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["threads"] == threads
    return found["models"]


@pytest.fixture(scope="module")
def probes() -> dict[str, dict[str, Any]]:
    """What processes with one thread, with one again, and with two have trained."""
    with ThreadPoolExecutor(3) as pool:
        first, again, two = pool.map(_probe, (1, 1, 2), (1, 2, 3))
    return {"first": first, "again": again, "two threads": two}


@pytest.mark.parametrize("model", MODELS)
def test_another_process_gives_the_same_bits(model: str, probes: dict[str, Any]) -> None:
    assert probes["first"][model] == probes["again"][model]


@pytest.mark.parametrize("model", [name for name in MODELS if name not in NOT_ACROSS_THREADS])
def test_another_number_of_threads_gives_the_same_bits(model: str, probes: dict[str, Any]) -> None:
    assert probes["first"][model] == probes["two threads"][model]


@pytest.mark.parametrize("model", sorted(NOT_ACROSS_THREADS))
def test_others_have_nearly_the_same_metrics(model: str, probes: dict[str, Any]) -> None:
    one, two = (probes[name][model]["metrics"] for name in ("first", "two threads"))
    assert one == pytest.approx(two, abs=2e-3)
    assert one["recall@20"] > 0
