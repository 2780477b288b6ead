"""Tables of which each process holds some columns."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from hnlmrec.distributed.world import World

_BLOCK = 1 << 16  # rows on their way at a time


def whole_rows(own: Tensor, dim: int, world: World, to: int | None = None) -> Tensor:
    """Put the columns of all processes side by side.

    Parameters
    ----------
    own
        The columns ``world.share(dim)`` of some rows, the same ones everywhere ``[n, d]``.
    dim
        Columns of all processes.
    world
        The processes.
    to
        The only one that is given the rows; None: all are.

    Returns
    -------
    Tensor
        ``[n, dim]``; ``[0, dim]`` at a process that is not given them.
    """
    from torch import distributed

    columns = [World(rank, world.size).share(dim) for rank in range(world.size)]
    # collectives want the same shape everywhere
    widest = -(-dim // world.size)
    padded = own.new_zeros((len(own), widest))
    padded[:, : own.shape[1]] = own
    receives = to is None or to == world.rank
    parts = [torch.empty_like(padded) for _ in columns] if receives else None
    if to is None:
        distributed.all_gather(parts, padded)
    else:
        distributed.gather(padded, parts, dst=to)
    if parts is None:
        return own.new_empty((0, dim))
    each = zip(parts, columns, strict=True)
    return torch.cat([part[:, : mine.stop - mine.start] for part, mine in each], dim=1)


def whole_on_first(own: Tensor, dim: int, world: World) -> Tensor:
    """`whole_rows` in the first process's memory, a block at a time: ``[0, dim]`` elsewhere."""
    blocks = [whole_rows(block, dim, world, to=0).cpu() for block in own.split(_BLOCK)]
    return torch.cat(blocks)


def initial_columns(
    shape: tuple[int, int], columns: slice, deviation: float, generator: torch.Generator
) -> Tensor:
    """The columns of a normal table, as `torch.randn` draws it in one piece; not all at a time.

    Parameters
    ----------
    shape
        Of the whole table ``[rows, dim]``.
    columns
        Those to keep.
    deviation
        Of the numbers.
    generator
        On the CPU; it ends where it would after the whole table.
    """
    rows, dim = shape
    kept = torch.empty(rows, columns.stop - columns.start)
    # torch fills tables of 16 numbers and more in groups of 16, and the rest at their end: blocks
    # of so many rows, the last of them no smaller, are the same numbers
    borders = [*range(0, max(rows - _BLOCK, 0) + 1, _BLOCK), rows]
    for start, stop in pairwise(borders):
        block = torch.randn(stop - start, dim, generator=generator)
        kept[start:stop] = block[:, columns] * deviation
    return kept
