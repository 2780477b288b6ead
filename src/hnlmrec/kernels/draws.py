"""Un-interacted items on a CPU: draws of them, and which of a pool they are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hnlmrec.kernels import threads
from hnlmrec.kernels.threads import array

_MULTIPLICATIONS = 50  # that a draw is worth in time


def draw_free(
    seed: int, users: Tensor, n: int, indptr: Tensor, free_before: Tensor, n_items: int
) -> Tensor:
    """Draw un-interacted items of each user, uniformly and with replacement.

    Parameters
    ----------
    seed
        Of the stream of random numbers, at least 0; draw ``k`` of the ``b``-th user is its number
        ``b n + k``, whatever thread makes it.
    users
        int64 ``[B]``.
    n
        Draws a user.
    indptr
        int64 ``[n_users + 1]``, where the interactions of each user begin.
    free_before
        For each interaction, the un-interacted items of the user before it, int32 ``[nnz]``.
    n_items
        Items in the catalogue, below 2**32.

    Returns
    -------
    Tensor
        Items, int64 ``[B, n]``.
    """
    from hnlmrec.kernels.compiled import draw_free as compiled

    items = torch.empty((len(users), n), dtype=torch.int64)
    borders = threads.even(len(users), threads.threads_for(items.numel() * _MULTIPLICATIONS))
    threads.run(
        compiled, borders,
        np.uint64(seed), array(users), array(indptr), array(free_before), n_items, items.numpy(),
    )  # fmt: skip
    return items


def interacted_in(
    users: Tensor, pool: Tensor, indptr: Tensor, items: Tensor, n_items: int
) -> Tensor:
    """Which items of a pool are training items of each user.

    Parameters
    ----------
    users
        int64 ``[B]``.
    pool
        Items, int64 ``[P]``; they may repeat.
    indptr, items
        Training items of each user, int64 ``[n_users + 1]`` and int32 ``[nnz]``.
    n_items
        Items in the catalogue.

    Returns
    -------
    Tensor
        Bool ``[B, P]``.
    """
    from hnlmrec.kernels.compiled import chain_places, mark_interacted

    first, following = np.full(n_items, -1), np.empty(len(pool), dtype=np.int64)
    chain_places(array(pool), first, following)
    mask = torch.zeros((len(users), len(pool)), dtype=torch.bool, device=users.device)
    borders = threads.even(len(users), threads.threads_for(mask.numel()))
    threads.run(
        mark_interacted, borders, array(users), array(indptr), array(items), first, following,
        mask.numpy(),
    )  # fmt: skip
    return mask
