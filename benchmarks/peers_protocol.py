"""How `peers.py` hands work to a process of its own and gets one line of JSON back.

It is imported by both environments, so it needs NumPy alone.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CUTOFFS = (10, 20)
METRICS = ("recall", "mrr", "ndcg", "hit", "precision")
METRIC_KEYS = tuple(f"{metric}@{k}" for metric in METRICS for k in CUTOFFS)
USERS_AT_ONCE = 1024
_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")

Line = dict[str, Any]
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Job:
    """What a process shall measure.

    Parameters
    ----------
    task
        A key of the worker's tasks.
    folder
        Holds ``splits.npz`` and RecBole's ``atomic/``; read only.
    scratch
        An empty folder, the process's own: factors, logs.
    factors
        Folder with ``users.npy`` and ``items.npy`` to evaluate.
    model
        ``mf`` or ``lightgcn``.
    lr
        Learning rate; None is the library's own.
    steps
        Batches to time, for the task ``scale``.
    """

    task: str
    folder: str
    scratch: str = ""
    factors: str = ""
    model: str = "mf"
    epochs: int = 20
    batch_size: int = 2048
    dim: int = 64
    layers: int = 2
    lr: float | None = None
    threads: int = 2
    seed: int = 0
    repeats: int = 3
    steps: int = 5


@dataclass(frozen=True)
class Splits:
    """Pairs of indices, int32 ``[2, n_pairs]`` each (users, items), sorted, and their range."""

    shape: tuple[int, int]
    train: Ints
    valid: Ints
    test: Ints

    def save(self, folder: Path) -> None:
        """Write ``splits.npz``."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        np.savez(folder / "splits.npz", shape=self.shape, **parts)

    @classmethod
    def load(cls, folder: str) -> Splits:
        """Read ``splits.npz``."""
        with np.load(Path(folder) / "splits.npz") as file:
            users, items = file["shape"].tolist()
            return cls((users, items), file["train"], file["valid"], file["test"])


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def epoch_times(times: list[float]) -> Line:
    """Summarise epochs by the median after the first, which warms up."""
    later = times[1:] or times
    return {"epoch_seconds": statistics.median(later), "epochs": len(times)}


def save_factors(scratch: str, users: Any, items: Any) -> None:
    """Write factors (arrays, or tensors without a graph) whose inner products are the scores.

    Row ``i`` is the user or item of index ``i``.
    """
    np.save(Path(scratch) / "users.npy", np.asarray(users, dtype=np.float32))
    np.save(Path(scratch) / "items.npy", np.asarray(items, dtype=np.float32))


def load_factors(folder: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Read what `save_factors` wrote."""
    return np.load(Path(folder) / "users.npy"), np.load(Path(folder) / "items.npy")


def peak_mib() -> float:
    """Peak resident memory of this process since it loaded its program.

    Linux's ``ru_maxrss`` also counts the parent's memory at the time it started the process, so
    the peak of the address space is read where there is one.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def serve(tasks: Mapping[str, Callable[[Job], Line]]) -> None:
    """Do the job that the first argument holds, and print the result as the last line."""
    libraries = peak_mib()
    job = Job(**json.loads(sys.argv[1]))
    line = tasks[job.task](job)
    print(json.dumps(line | {"peak_mib": peak_mib(), "libraries_mib": libraries}))


def ask(python: str, worker: str, job: Job) -> Line:
    """Run a worker beside this file in a process of its own, in ``job.scratch``.

    Returns
    -------
    dict
        The worker's line; ``{"error": ...}`` when it failed.
    """
    scratch = Path(job.scratch)
    scratch.mkdir(parents=True)
    script = Path(__file__).with_name(worker)
    environment = os.environ | dict.fromkeys(_POOLS, str(job.threads))
    text = json.dumps(asdict(replace(job, scratch=str(scratch.resolve()))))
    done = subprocess.run(
        [python, str(script.resolve()), text],
        cwd=scratch,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"error": reason[-1]}
    line: Line = json.loads(done.stdout.strip().splitlines()[-1])
    return line
