"""Work that several processes do together over gloo on loopback, each under a time limit."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, multiprocessing

from hnlmrec.distributed import World

# of patience for processes to start and meet: a busy machine takes many times as long as a quiet
SECONDS = 400.0


def together(size: int, work: Callable[..., None], *given: Any) -> None:
    """Call ``work(world, *given)`` in ``size`` new processes; fail when one fails or hangs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.spawn(
        _one, args=(size, port, work, given), nprocs=size, join=False, daemon=True
    )
    assert context is not None
    deadline = time.monotonic() + SECONDS
    # raises when one fails, and returns when one has ended well
    while not context.join(max(0.0, deadline - time.monotonic())):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            raise TimeoutError(f"{size} processes did not end in {SECONDS:.0f} s")


def _one(rank: int, size: int, port: int, work: Callable[..., None], given: Any) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=size,
        # an exchange that waits for longer fails, so that nothing hangs
        timeout=timedelta(seconds=SECONDS),
    )
    try:
        work(World(rank, size), *given)
    finally:
        distributed.destroy_process_group()
