"""How the weights of negatives enter means and sums of exponentials."""

from __future__ import annotations

import torch
from torch import Tensor


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


def weighted_logits(logits: Tensor, weights: Tensor | None) -> Tensor:
    """``log(w * exp(logits))``: minus infinity, without a gradient, where a weight is 0.

    Parameters
    ----------
    logits, weights
        Float ``[B, N]``.

    Returns
    -------
    Tensor
        Float ``[B, N]``.
    """
    if weights is None:
        return logits
    logs = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()
    return torch.where(weights > 0, logits + logs, -torch.inf)


def drop_empty(rows: Tensor, weights: Tensor | None) -> Tensor:
    """``rows``, float ``[B]``, with 0 where all ``weights``, ``[B, N]``, are 0."""
    if weights is None:
        return rows
    return torch.where((weights > 0).any(dim=1), rows, 0.0)
