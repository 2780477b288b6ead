"""Where compiled loops run, and on how many threads."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

# below this many multiplications waking a thread costs more than it saves, on any machine
_LEAST = 400_000
_LINE = 16  # float32 numbers in a cache line
# of the trial that finds what a thread is worth here
_TRIAL_PAIRS, _TRIAL_WIDTH, _TRIALS = 32_768, 64, 25
_CLEAR_GAIN = 0.8


def on_cpu(*tables: Tensor) -> bool:
    """Whether the compiled form takes these: float32 rows in memory of the CPU."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tables)


def array(tensor: Tensor) -> Any:
    """The numbers of a tensor as a C-contiguous array, without a copy where they are one."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    return tensor.contiguous().numpy()


def threads_for(work: int, *, waiting: bool = False) -> int:
    """Threads that ``work`` multiplications are worth, at most as many as torch has.

    Work that mostly waits for memory (``waiting``) is worth a thread without a trial: two threads
    of one core wait at the same time.
    """
    most = min(torch.get_num_threads(), work // _LEAST)
    if waiting:
        return max(1, most)
    return max(1, min(most, int(work // worth_a_thread()))) if most > 1 else 1


@cache
def worth_a_thread() -> float:
    """Multiplications that make one more thread worth while on this machine, by a short trial.

    Two virtual CPUs may be one core, and a host that is busy lets a thread wait to be woken: then
    two threads can take longer than one. The same work is timed in one part and in two, in turn,
    so that the second thread sleeps before each. Infinite, when two parts took hardly less.
    """
    from hnlmrec.kernels.compiled import dot_pairs

    table = np.ones((_TRIAL_PAIRS // 16, _TRIAL_WIDTH), dtype=np.float32)
    rows = np.arange(_TRIAL_PAIRS // 16)
    pairs = np.random.default_rng(0).integers(len(table), size=(len(rows), 16))
    out = np.empty(pairs.shape, dtype=np.float32)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(1 + _TRIALS):
        for parts, times in seconds.items():
            start = time.perf_counter()
            run(dot_pairs, even(len(rows), parts), table, table, rows, pairs, 0, out)
            times.append(time.perf_counter() - start)
    # the first of each also loads the loop, or starts the thread
    one, two = (statistics.median(times[1:]) for times in seconds.values())
    return worth(_TRIAL_PAIRS * _TRIAL_WIDTH, one, two)


def worth(work: int, one: float, two: float) -> float:
    """From the seconds that ``work`` takes in one part and in two: what makes two worth while.

    Twice as fast would be ``one / 2``; what two parts take beyond that is taken as fixed, so they
    break even where half the work takes as long. Twice that, for a clear gain; infinite, where
    there is none.
    """
    if two > _CLEAR_GAIN * one:
        return math.inf
    return max(float(_LEAST), 2 * work * (two - one / 2) / (one / 2))


def even(n: int, parts: int) -> list[int]:
    """Borders of ``parts`` even parts of ``range(n)``."""
    return [n * part // parts for part in range(parts + 1)]


def columns(dim: int, parts: int) -> list[int]:
    """Borders of at most ``parts`` parts of columns: whole cache lines, so none is shared."""
    lines = -(-dim // _LINE)
    return [min(dim, _LINE * border) for border in even(lines, min(parts, lines))]


def run(kernel: Callable[..., None], borders: Sequence[int], *arguments: Any) -> None:
    """Call ``kernel(start, stop, *arguments)`` for each part, the first in this thread.

    The threads are ours and not those of OpenMP: one that waits sleeps, so a busy machine slows
    training in proportion and no more, and torch's threads are not disturbed.
    """
    parts = list(pairwise(borders))
    if len(parts) == 1:
        kernel(*parts[0], *arguments)
        return
    others = [_pool(len(parts) - 1).submit(kernel, *part, *arguments) for part in parts[1:]]
    kernel(*parts[0], *arguments)
    for other in others:
        other.result()


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="hnlmrec-kernel")
