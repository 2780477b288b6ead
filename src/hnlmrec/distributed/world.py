"""The processes that compute one run together, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

# torch is imported where several processes need it: most commands start without it
T = TypeVar("T")

# one process may write profiles for days while the others wait for it
_PATIENCE = timedelta(days=30)


@dataclass(frozen=True)
class World:
    """One process among those that compute together: by default the only one.

    With more than one, torch.distributed has a process group (`joined`), every process calls each
    method at the same point, and all see the same file system.

    Parameters
    ----------
    rank
        Number of this process.
    size
        How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes: of several, one does."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """The rows out of ``n`` that are this process's: in order of rank, as even as can be."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()

    def tell(self, value: T) -> T:
        """What the first process gave, whatever the others give: anything that can be copied."""
        if self.size == 1:
            return value
        from torch import distributed

        told: list[Any] = [value]
        distributed.broadcast_object_list(told, src=0)
        found: T = told[0]
        return found

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace a tensor, of the same shape everywhere, by the sum of all processes' ones."""
        if self.size > 1:
            from torch import distributed

            distributed.all_reduce(tensor)
        return tensor

    def rows(self, own: Tensor) -> Tensor:
        """All processes' rows, one process after the other, however many each has.

        Parameters
        ----------
        own
            Rows of this process ``[n, *shape]``.

        Returns
        -------
        Tensor
            ``[sum of n, *shape]``, without a gradient.
        """
        if self.size == 1:
            return own
        import torch
        from torch import distributed

        own = own.detach()
        counts = torch.zeros(self.size, dtype=torch.int64, device=own.device)
        counts[self.rank] = len(own)
        self.sum(counts)
        # collectives want the same shape everywhere
        padded = own.new_zeros((int(counts.max()), *own.shape[1:]))
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:n] for part, n in zip(parts, counts.tolist(), strict=True)])


ALONE = World()


def started() -> bool:
    """Whether torchrun, accelerate or a Slurm job started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[World]:
    """Join the processes of which this one was started as one; alone, do nothing.

    On CUDA each process takes the device of its number on its machine, and nccl; else gloo.
    """
    if not started():
        yield ALONE
        return
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        # gloo for what is on the CPU, such as objects
        backend = "cpu:gloo,cuda:nccl"
    store, rank, size = next(rendezvous("env://"))
    store = PrefixStore(_attempt(), store)
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE
    )
    try:
        yield current()
    finally:
        distributed.destroy_process_group()


def _attempt() -> str:
    """What tells the processes of a restart from those before them, which have left addresses.

    torchrun keeps its store over restarts. Across machines its count is not the same everywhere:
    there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives each restart a new store.
    """
    on_one_machine = os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if on_one_machine else "0"


def current() -> World:
    """The world that this process has `joined`, or that Ray Train joined for it."""
    if not started():
        return ALONE
    from torch import distributed

    if not distributed.is_initialized():
        return ALONE
    return World(distributed.get_rank(), distributed.get_world_size())
