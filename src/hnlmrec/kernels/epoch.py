"""Many steps of matrix factorisation with BPR and uniform negatives in one call."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hnlmrec.kernels.threads import array


def bpr_steps(
    users: Tensor,
    positives: Tensor,
    batch_size: int,
    seeds: Tensor,
    n_negatives: int,
    indptr: Tensor,
    free_before: Tensor,
    n_items: int,
    l2: float,
    table: Tensor,
    mean: Tensor,
    square: Tensor,
    rates: list[float],
    betas: tuple[float, float],
    epsilon: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Do what as many steps of lazy Adam do, up to rounding, on the CPU and in one thread.

    A step on a small batch is shorter than the calls that it is made of.

    Parameters
    ----------
    users, positives
        The pairs of all steps, int64 ``[P]``.
    batch_size
        Pairs of a step; the last may have fewer.
    seeds
        Of the negatives of each step, int64 ``[S]``; see `draw_free`.
    n_negatives, indptr, free_before, n_items
        As ``n`` and others in `draw_free`.
    l2
        Weight of half the squared norms of a batch's rows, divided by its pairs.
    table, mean, square
        Float32 ``[n_users + n_items, D]``, contiguous: changed in place.
    rates
        Of each step; see `adam_step`.
    betas, epsilon
        Of Adam.

    Returns
    -------
    tuple[ndarray, ndarray]
        BPR and L2 of each step, float64 ``[S]``.
    """
    from hnlmrec.kernels.compiled_epoch import bpr_steps as compiled

    ranking, norms = np.empty(len(seeds)), np.empty(len(seeds))
    keep_mean, keep_square = (np.float32(beta) for beta in betas)
    compiled(
        array(users), array(positives), batch_size, array(seeds).astype(np.uint64),
        np.array(rates, dtype=np.float32), n_negatives, array(indptr), array(free_before),
        n_items, len(table) - n_items, l2, array(table), array(mean), array(square),
        keep_mean, keep_square, np.float32(epsilon), ranking, norms,
    )  # fmt: skip
    return ranking, norms


def bpr_triples(
    users: Tensor,
    positives: Tensor,
    negatives: Tensor,
    l2: float,
    table: Tensor,
    squares: Tensor,
    n_items: int,
    rate: float,
    epsilon: float,
) -> tuple[float, float]:
    """Do one step of row-wise Adagrad after another on one triple each, in one thread.

    Parameters
    ----------
    users, positives
        The pairs, int64 ``[P]``.
    negatives
        Of each pair, int64 ``[P, N]``: as many steps.
    l2
        Weight of half the squared norms of a triple's rows.
    table
        Float32 ``[n_users + n_items, D]``, contiguous: changed in place.
    squares
        The sum of the mean squares of each row's gradients, float32 ``[n_users + n_items]``:
        changed in place.
    n_items
        Items; they are the last rows.
    rate, epsilon
        A row moves by ``rate / (sqrt(square) + epsilon)`` times its gradient.

    Returns
    -------
    tuple[float, float]
        BPR and L2, each summed over the triples.
    """
    from hnlmrec.kernels.compiled_triples import bpr_triples as compiled

    ranking, norms = compiled(
        array(users), array(positives), array(negatives), len(table) - n_items, np.float32(l2),
        array(table), array(squares), np.float32(rate), np.float32(epsilon),
    )  # fmt: skip
    return float(ranking), float(norms)
