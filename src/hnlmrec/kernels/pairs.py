"""Inner products of chosen rows, and squared norms of chosen rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from hnlmrec.kernels import threads
from hnlmrec.kernels.threads import array, on_cpu


def pair_scores(left: Tensor, right: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``left[rows[b]] . right[columns[b, k]]``, differentiable in both tables.

    The rows themselves are never copied, so memory is that of the scores; the gradient of a table
    is dense.

    Parameters
    ----------
    left, right
        Float ``[R, D]`` and ``[S, D]``; they may be parts of one tensor.
    rows
        int64 ``[B]``.
    columns
        int64 ``[B, K]``.

    Returns
    -------
    Tensor
        Float ``[B, K]``.
    """
    if not on_cpu(left, right):
        chosen = right.index_select(0, columns.flatten()).view(*columns.shape, -1)
        return torch.einsum("bd,bkd->bk", left.index_select(0, rows), chosen)
    scores: Tensor = _PairScores.apply(left, right, rows, columns, 0)  # type: ignore[no-untyped-call]
    return scores


def table_scores(table: Tensor, rows: Tensor, columns: Tensor, shift: int) -> Tensor:
    """`pair_scores` of rows ``columns + shift`` of the same table: its gradient is made once."""
    if not on_cpu(table):
        return pair_scores(table, table, rows, columns + shift)
    scores: Tensor = _PairScores.apply(table, None, rows, columns, shift)  # type: ignore[no-untyped-call]
    return scores


class _PairScores(Function):
    """``right`` is None when it is the same tensor as ``left``."""

    @staticmethod
    def forward(
        ctx: Any, left: Tensor, right: Tensor | None, rows: Tensor, columns: Tensor, shift: int
    ) -> Tensor:
        from hnlmrec.kernels.compiled import dot_pairs

        ctx.save_for_backward(left, right, rows, columns)
        ctx.shift = shift
        scores = torch.empty(columns.shape, dtype=torch.float32)
        other = left if right is None else right
        parts = threads.threads_for(scores.numel() * left.shape[1])
        threads.run(
            dot_pairs, threads.even(len(rows), parts),
            array(left), array(other), array(rows), array(columns), shift, scores.numpy(),
        )  # fmt: skip
        return scores

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        left, right, rows, columns = ctx.saved_tensors
        left_sum = torch.zeros_like(left, memory_format=torch.contiguous_format)
        other, right_sum = left, left_sum
        if right is not None:
            other = right
            right_sum = torch.zeros_like(right, memory_format=torch.contiguous_format)
        _spread(left, other, rows, columns, ctx.shift, gradient, left_sum, right_sum)
        return left_sum, None if right is None else right_sum, None, None, None


def squared_norms(table: Tensor, rows: Tensor) -> Tensor:
    """Sum of the squared norms of chosen rows, repeats included: a scalar.

    Parameters
    ----------
    table
        Float ``[R, D]``.
    rows
        int64 ``[B]``.
    """
    if not on_cpu(table):
        return table.index_select(0, rows).square().sum()
    total: Tensor = _SquaredNorms.apply(table, rows)  # type: ignore[no-untyped-call]
    return total


class _SquaredNorms(Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, rows: Tensor) -> Tensor:
        from hnlmrec.kernels.compiled import square_rows

        ctx.save_for_backward(table, rows)
        squares = torch.empty(len(rows))
        parts = threads.threads_for(len(rows) * table.shape[1])
        borders = threads.even(len(rows), parts)
        threads.run(square_rows, borders, array(table), array(rows), squares.numpy())
        return squares.sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        table, rows = ctx.saved_tensors
        total = torch.zeros_like(table, memory_format=torch.contiguous_format)
        _add_rows(total, table, rows, 2 * gradient.item())
        return total, None


def bpr_gradient(
    table: Tensor, rows: Tensor, columns: Tensor, shift: int
) -> tuple[Tensor, Tensor] | None:
    """BPR of `table_scores`, the positive in the first column, and its gradient in the scores.

    Returns
    -------
    tuple[Tensor, Tensor] or None
        The mean over pairs and negatives, a scalar, and float ``[B, 1 + N]``; None where there is
        no compiled form.
    """
    if not on_cpu(table):
        return None
    from hnlmrec.kernels.compiled import bpr_weights

    loss, weights = torch.empty(len(rows)), torch.empty(columns.shape)
    rest = torch.empty(len(rows), dtype=torch.float64)
    borders = threads.even(len(rows), threads.threads_for(weights.numel() * table.shape[1]))
    threads.run(
        bpr_weights, borders,
        array(table), array(rows), array(columns), shift, loss.numpy(), rest.numpy(),
        weights.numpy(),
    )  # fmt: skip
    n_negatives = len(rows) * (columns.shape[1] - 1)
    return (loss.sum() + rest.log_().sum().float()) / n_negatives, weights


def _add_rows(total: Tensor, table: Tensor, rows: Tensor, weight: float) -> None:
    """Add ``weight * table[rows[b]]`` to ``total[rows[b]]`` for all ``b``, repeats included."""
    from hnlmrec.kernels.compiled import spread_rows

    dim = table.shape[1]
    borders = threads.columns(dim, threads.threads_for(len(rows) * dim))
    threads.run(spread_rows, borders, array(table), array(rows), np.float32(weight), total.numpy())


def _spread(
    left: Tensor, right: Tensor, rows: Tensor, columns: Tensor, shift: int, weights: Tensor,
    left_sum: Tensor, right_sum: Tensor,
) -> None:  # fmt: skip
    from hnlmrec.kernels.compiled import spread_pairs

    dim = left.shape[1]
    parts = threads.threads_for(2 * weights.numel() * dim)
    threads.run(
        spread_pairs, threads.columns(dim, parts),
        array(left), array(right), array(rows), array(columns), shift, array(weights),
        left_sum.numpy(), right_sum.numpy(),
    )  # fmt: skip
