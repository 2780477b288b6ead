"""Adam on some rows of a table."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from hnlmrec.kernels import threads
from hnlmrec.kernels.threads import array, on_cpu


def adam_step(
    rows: Tensor,
    gradient: Tensor,
    table: Tensor,
    mean: Tensor,
    square: Tensor,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Move rows of a table by Adam's rule.

    Parameters
    ----------
    rows
        Distinct, int64 ``[B]``.
    gradient
        In those rows, float ``[B, D]``.
    table, mean, square
        Float ``[R, D]``, contiguous; other rows are not read.
    rate
        Learning rate, with the correction of both moments' bias.
    betas, epsilon
        Of Adam.
    """
    if on_cpu(table):
        from hnlmrec.kernels.compiled_batch import adam_rows

        borders = threads.even(len(rows), threads.threads_for(8 * len(rows) * table.shape[1]))
        constants = (np.float32(number) for number in (rate, *betas, epsilon))
        threads.run(
            adam_rows, borders, array(rows), array(table), array(gradient), array(mean),
            array(square), *constants,
        )  # fmt: skip
        return
    m = betas[0] * mean[rows] + (1 - betas[0]) * gradient
    v = betas[1] * square[rows] + (1 - betas[1]) * gradient * gradient
    mean[rows], square[rows] = m, v
    table[rows] -= rate * m / (v.sqrt() + epsilon)
