"""How the weights of negatives enter means and sums of exponentials."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def weighted_mean(terms: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of each row, ``sum(w * terms) / sum(w)``; 0 where all weights are 0.

    Parameters
    ----------
    terms, weights
        Float ``[B, N]``.

    Returns
    -------
    Tensor
        Float ``[B]``.
    """
    if weights is None:
        return terms.mean(dim=1)
    total = weights.sum(dim=1)
    return (weights * terms).sum(dim=1) / torch.where(total > 0, total, 1.0)


def log_weighted_sum(logits: Tensor, weights: Tensor | None, plus_one: bool) -> Tensor:
    """``log(sum_j w_j exp(l_j))`` of each row, or ``log(1 + sum_j w_j exp(l_j))``.

    A logit whose weight is 0 has no part and no gradient, whatever its value, nor has the weight.
    What is saved for the gradient is one table, the terms of the sum.

    Parameters
    ----------
    logits
        Float ``[B, N]``.
    weights
        The same, at least 0; None: all 1.
    plus_one
        Whether 1 is added.

    Returns
    -------
    Tensor
        Float ``[B]``; minus infinity, without a gradient, for a sum of 0.
    """
    rows: Tensor = _LogWeightedSum.apply(logits, weights, plus_one)  # type: ignore[no-untyped-call]
    return rows


class _LogWeightedSum(Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, weights: Tensor | None, plus_one: bool) -> Tensor:
        terms = logits.clone() if weights is None else logits.masked_fill(weights == 0, -torch.inf)
        largest = terms.amax(dim=1)
        # taken out of the sum, so that nothing overflows
        shift = largest.clamp_min(0) if plus_one else largest.masked_fill(largest.isinf(), 0)
        terms.sub_(shift[:, None]).exp_()
        if weights is not None:
            terms *= weights
        total = terms.sum(dim=1)
        if plus_one:
            total += torch.exp(-shift)
        ctx.save_for_backward(terms, total, weights)
        return shift + total.log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        terms, total, weights = ctx.saved_tensors
        by_logits = terms * torch.where(total == 0, 0, gradient / total)[:, None]
        by_weights = None
        if ctx.needs_input_grad[1]:
            by_weights = torch.where(weights == 0, 0, by_logits / weights)
        return by_logits, by_weights, None


def drop_empty(rows: Tensor, weights: Tensor | None) -> Tensor:
    """``rows``, float ``[B]``, with 0 where all ``weights``, ``[B, N]``, are 0."""
    if weights is None:
        return rows
    return torch.where((weights > 0).any(dim=1), rows, 0.0)
