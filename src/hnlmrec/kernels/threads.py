"""Where compiled loops run, and on how many threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

# below this many multiplications waking a thread costs more than it saves
_WORTH_A_THREAD = 400_000
_LINE = 16  # float32 numbers in a cache line


def on_cpu(*tables: Tensor) -> bool:
    """Whether the compiled form takes these: float32 rows in memory of the CPU."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tables)


def array(tensor: Tensor) -> Any:
    """The numbers of a tensor as a C-contiguous array, without a copy where they are one."""
    if tensor.requires_grad:
        tensor = tensor.detach()
    return tensor.contiguous().numpy()


def threads_for(work: int) -> int:
    """Threads that ``work`` multiplications are worth, at most as many as torch has."""
    return max(1, min(torch.get_num_threads(), work // _WORTH_A_THREAD))


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
