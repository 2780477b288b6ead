from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fine_tuning_processes import CASES, CountingWorld, fine_tune
from hnlmrec.synthesis.finetune import SynthesisInputs
from hnlmrec.synthesis.model import FILE
from hnlmrec.synthesis.pairs import PairSampler
from hnlmrec.synthesis.states import ITEM_STATES, USER_STATES
from hnlmrec.synthesis.vectors import VectorTable
from synthesis_cases import TEXTS, encode_texts, language_config, synthesis_config

SCRIPT = Path(__file__).parents[1] / "fine_tuning_processes.py"
# of patience: a busy machine takes many times as long as a quiet one
SECONDS = 300.0
SIZES = (2, 3)


@pytest.fixture(scope="session")
def encoded(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded")
    encode_texts(*TEXTS, language_config(tiny_model), folder)
    return folder


def _start(size: int, *arguments: object) -> list[subprocess.Popen[str]]:
    """Processes of one world, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(size),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return [
        subprocess.Popen(
            command,
            env={**environment, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]


def _end(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What each printed, when all have ended; none outlives a test."""
    try:
        return [process.communicate(timeout=SECONDS)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="session")
def outcomes(
    tiny_model: Path, encoded: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, Path]:
    """The folder of all cases by the number of processes."""
    folders = {size: tmp_path_factory.mktemp(f"{size}-processes") for size in (1, *SIZES)}
    for name in CASES:
        fine_tune(name, tiny_model, encoded, folders[1], CountingWorld())
    for size in SIZES:
        processes = _start(size, tiny_model, encoded, folders[size], "cases")
        said = _end(processes)
        assert [process.returncode for process in processes] == [0] * size, said
    return folders


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CASES)
def test_several_processes_learn_what_one_learns(
    name: str, size: int, outcomes: dict[int, Path]
) -> None:
    alone, together = outcomes[1] / name, outcomes[size] / name
    expected, found = load_file(alone / FILE), load_file(together / FILE)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-4, msg=key)
    expected_rows, rows = (
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (alone, together)
    )
    assert len(rows) == len(expected_rows)
    for row, other in zip(rows, expected_rows, strict=True):
        for key, value in other.items():
            assert row[key] == (value if isinstance(value, str) else pytest.approx(value, abs=1e-4))
    reports = [json.loads((folder / "report.json").read_text()) for folder in (alone, together)]
    assert reports[0]["tokens"] == reports[1]["tokens"]
    if CASES[name].get("mode") != "pairwise":
        for states in (USER_STATES, ITEM_STATES):
            one, several = (
                VectorTable.open(folder / states).read_all() for folder in (alone, together)
            )
            # stored in half precision
            torch.testing.assert_close(several, one, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_what_a_step_moves(size: int, outcomes: dict[int, Path], inputs: SynthesisInputs) -> None:
    name = "pairwise in pieces"
    config = synthesis_config("pairwise").finetune
    moved = json.loads((outcomes[size] / name / "moved.json").read_text())
    adapter = load_file(outcomes[size] / name / FILE)
    centres = adapter.pop("centres")
    learned = sum(value.numel() for value in adapter.values())
    assert moved["summed"].count(4 * learned) == config.steps
    pairs = PairSampler(inputs.interactions, config.held_out, 0)
    sizes = [len(pairs.held_out[: config.batch_users * config.pairs_per_user])]
    for step in range(1, config.steps + 1):
        random = np.random.default_rng([0, step])
        batch = len(pairs.by_user(config.batch_users, config.pairs_per_user, random))
        # the step, and the held-out pairs after it
        sizes += [batch, sizes[0]]
    assert moved["gathered"] == [4 * centres.shape[1] * rows for rows in sizes]


def test_processes_that_differ_are_told(outcomes: dict[int, Path]) -> None:
    for rank in range(3):
        said = (outcomes[3] / f"{rank}.txt").read_text()
        assert "2 of 3 processes have other parameters than the first after step 2" in said


def test_when_one_process_fails_none_waits(tiny_model: Path, encoded: Path, tmp_path: Path) -> None:
    processes = _start(2, tiny_model, encoded, tmp_path, "fail")
    said = _end(processes)
    assert all(process.returncode > 0 for process in processes)
    assert "the last process fails" in said[1]
