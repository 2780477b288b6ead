"""Kills, power losses, full disks and damaged bytes over all stages; `crashes.py` does them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("crashes.py")
STAGES = {
    "prepare", "profile", "name", "encode/items", "encode/users", "pretrain", "pick", "finetune",
    "synthesize", "train", "evaluate", "compare", "the run folder",
}  # fmt: skip

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process"),
    pytest.mark.skipif(
        not Path("/proc/self/fd").is_dir(), reason="the journal of writes needs Linux's /proc"
    ),
]


def _crash(folder: Path, **options: int) -> dict[str, Any]:
    for package in ("transformers", "peft", "llguidance", "openai", "rapidfuzz", "matplotlib"):
        pytest.importorskip(package, reason="needs the extras")
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, PROGRAM, folder, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    tally: dict[str, Any] = json.loads(done.stdout)
    assert not tally["broken"], "\n".join(tally["broken"])
    return tally


def test_what_was_killed_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    tally = _crash(tmp_path, kills=20, others=2)
    assert tally["counts"]["kills"] == 20
    assert tally["counts"]["compared"] >= 5


@pytest.mark.slow
def test_hundreds_of_kills_over_all_stages(tmp_path: Path) -> None:
    """`make faults` prints the counts."""
    tally = _crash(tmp_path, kills=int(os.environ.get("HNLMREC_KILLS", "240")), others=24, seed=1)
    print(json.dumps(tally, indent=1))
    assert set(tally["stages"]) == STAGES
    # a third of the kills; how many meet a write that can be lost depends on the moment
    assert tally["counts"]["kills: power losses"] > 30
