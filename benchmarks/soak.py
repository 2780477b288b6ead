"""Use the store, the cache and the trainer for a long time, and say whether memory grows.

``python benchmarks/soak.py --minutes 60`` repeats a round until the time is over: a store of
negatives is written, read and deleted; answers are kept, found and pruned; three models are trained
with checkpoints and evaluations. The resident memory after each round is written to a CSV file; its
slope by least squares over the second half of the rounds is printed, with that of open files. The
first half is left out: freed memory is kept (`hnlmrec.process`), and that takes minutes to settle.
So what glibc's allocator has handed out and not got back is printed too: a leak is in both, the
allocator's gaps are in the first alone.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import gc
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from hnlmrec.config import ModelConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.language.cache import AnswerCache, answer_key
from hnlmrec.language.protocol import Answer
from hnlmrec.process import set_up_process
from hnlmrec.synthesis.store import NegativeStore, verify
from hnlmrec.training import LanguageArtefacts, train
from synthetic import synthetic

WIDTH, CHUNK = 64, 8192
ANSWERS = 2000
WARM_UP = 0.5
_TRAINING = {"epochs": 2, "evaluate_every": 1, "batch_size": 2048}
MODELS = {
    "lightgcn": {"sampler": {"name": "dns"}, "training": _TRAINING},
    "mf": {"backbone": {"name": "mf"}, "training": {**_TRAINING, "optimizer": "lazy_adam"}},
    "hnlmrec": {
        "sampler": {"name": "semantic", "base": {"name": "dns"}},
        "alignment": {"weight": 0.1},
        "training": _TRAINING,
    },
}


def use_store(folder: Path, data: Interactions, generator: torch.Generator) -> NegativeStore:
    """Write a vector for every training pair and read all of them again."""
    store = NegativeStore.create(folder, data, WIDTH)
    for rows in torch.arange(data.train.nnz).split(CHUNK):
        store.write(rows.numpy(), torch.randn(len(rows), WIDTH, generator=generator))
    verify(folder, data)
    return store


def use_cache(path: Path, number: int) -> None:
    """Keep new answers, find them and older ones, and prune those of earlier rounds."""
    cache = AnswerCache(path)
    started = time.time()
    prompts = [[{"role": "user", "content": f"{number} {n}"}] for n in range(ANSWERS)]
    keys = [answer_key(prompt, {}, "soak", 100) for prompt in prompts]
    for key in keys:
        cache.add(key, "soak", Answer("x" * 400, 100, 100), 0.01)
    if len(cache.find(keys)) != ANSWERS:
        raise RuntimeError("answers were lost")
    cache.count_use(keys)
    cache.prune(older_than_days=(time.time() - started) / 86_400)
    cache.close()


def use_trainer(folder: Path, data: Interactions, language: LanguageArtefacts, seed: int) -> None:
    """Train each model with checkpoints, validation and the report."""
    for name, tree in MODELS.items():
        (folder / name).mkdir(exist_ok=True)
        train(ModelConfig.model_validate(tree), data, seed, language, folder / name)


def resident_mib() -> float:
    """Resident memory now; Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class _MallocInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
            "fordblks", "keepcost",
        )
    )  # fmt: skip


def allocated_mib() -> float:
    """Memory that the allocator has handed out; NaN elsewhere than on glibc."""
    mallinfo2 = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo2 is None:
        return float("nan")
    mallinfo2.restype = _MallocInfo
    found = mallinfo2()
    return float(found.uordblks + found.hblkhd) / 2**20


def open_files() -> int:
    """Open file descriptors now; Linux only."""
    return len(list(Path("/proc/self/fd").iterdir()))


def slope_an_hour(seconds: list[float], values: list[float]) -> float:
    """By least squares over the rounds after the warm-up."""
    first = int(WARM_UP * len(seconds))
    if len(seconds) - first < 3:
        return float("nan")
    return float(np.polyfit(seconds[first:], values[first:], 1)[0] * 3600)


def main() -> None:
    """Parse, repeat rounds, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--interactions", type=int, default=50_000)
    parser.add_argument("--output", type=Path, default=Path("soak.csv"))
    options = parser.parse_args()
    set_up_process(1)
    data = synthetic(options.interactions)
    seconds: list[float] = []
    memory: list[float] = []
    allocated: list[float] = []
    files: list[float] = []
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as temporary,
        options.output.open("w", newline="", encoding="utf-8") as stream,
    ):
        folder, table = Path(temporary), csv.writer(stream)
        table.writerow(["seconds", "resident_mib", "allocated_mib", "open_files"])
        while time.monotonic() - start < 60 * options.minutes:
            number = len(seconds)
            generator = torch.Generator().manual_seed(number)
            with tempfile.TemporaryDirectory(dir=folder) as of_round:
                store = use_store(Path(of_round) / "store", data, generator)
                vectors = torch.randn(data.n_items, WIDTH, generator=generator)
                language = LanguageArtefacts(store, torch.nn.functional.normalize(vectors, dim=1))
                use_cache(folder / "answers.sqlite", number)
                use_trainer(Path(of_round), data, language, number)
            del store, language
            gc.collect()
            seconds.append(time.monotonic() - start)
            memory.append(resident_mib())
            allocated.append(allocated_mib())
            files.append(open_files())
            sizes = [f"{value:.2f}" for value in (seconds[-1], memory[-1], allocated[-1])]
            table.writerow([*sizes, int(files[-1])])
            stream.flush()
    print(
        f"{len(seconds)} rounds of {data.train.nnz:,} vectors, {ANSWERS:,} answers and "
        f"{len(MODELS)} trainings in {seconds[-1] / 60:.1f} minutes"
    )
    for name, unit, values in (
        ("resident memory", " MiB", memory),
        ("allocated memory", " MiB", allocated),
        ("open files", "", files),
    ):
        print(
            f"{name}: {values[0]:.1f}{unit} after the first round, {values[-1]:.1f} after the "
            f"last, at most {max(values):.1f}; slope of the second half "
            f"{slope_an_hour(seconds, values):+.2f}{unit} an hour"
        )


if __name__ == "__main__":
    main()
