"""Adam on some rows of a table."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hnlmrec.kernels import threads
from hnlmrec.kernels.threads import array, on_cpu


def distinct(rows: Tensor, seen: Tensor) -> Tensor:
    """The distinct ones of ``rows``, in any order.

    Parameters
    ----------
    rows
        int64 ``[B]``, below ``len(seen)``.
    seen
        Room to work in, all false before and after, bool ``[R]``.

    Returns
    -------
    Tensor
        int64, at most ``[B]``.
    """
    if rows.device.type != "cpu":
        unique: Tensor = rows.unique()
        return unique
    from hnlmrec.kernels.compiled import distinct_rows

    found = torch.empty_like(rows)
    n = distinct_rows(array(rows), array(seen), array(found))
    return found.narrow(0, 0, n)


def adam_step(
    rows: Tensor,
    table: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Move rows of a table by Adam's rule, and set their gradient to 0.

    Parameters
    ----------
    rows
        Distinct, int64 ``[B]``.
    table, gradient, mean, square
        Float ``[R, D]``, contiguous; other rows are not read.
    rate
        Learning rate, with the correction of both moments' bias.
    betas, epsilon
        Of Adam.
    """
    if on_cpu(table):
        from hnlmrec.kernels.compiled import adam_rows

        borders = threads.even(len(rows), threads.threads_for(8 * len(rows) * table.shape[1]))
        constants = (np.float32(number) for number in (rate, *betas, epsilon))
        threads.run(
            adam_rows, borders, array(rows), array(table), array(gradient), array(mean),
            array(square), *constants,
        )  # fmt: skip
        return
    g = gradient[rows]
    m = betas[0] * mean[rows] + (1 - betas[0]) * g
    v = betas[1] * square[rows] + (1 - betas[1]) * g * g
    mean[rows], square[rows] = m, v
    table[rows] -= rate * m / (v.sqrt() + epsilon)
    gradient[rows] = 0
