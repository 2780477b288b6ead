"""Gradient bias: how far false hard negatives turn the gradient of the ranking loss.

Diagnostics only: they look at held-out labels after training, like those of `false_negatives`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.evaluation.membership import contains
from hnlmrec.losses.protocol import RankingLoss
from hnlmrec.negatives import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.scoring import score_batch

Items = npt.NDArray[np.int64]


def without_false(
    negatives: Negatives,
    items: Items,
    synthesised: Items | None,
    users: npt.NDArray[np.integer],
    held_out: sp.csr_array,
) -> Negatives:
    """The oracle's negatives: the same, and those that are held-out positives count for nothing.

    Parameters
    ----------
    negatives
        Of a batch.
    items
        The item that each of the base's negatives is or stands for, int64 ``[B or 1, N]``.
    synthesised
        Likewise of the synthesised negatives, ``[B, S]``, where they are more of them.
    users
        Of the pairs, ``[B]``.
    held_out
        CSR ``[n_users, n_items]``.
    """
    kept = ~_false(held_out, users, items)
    weights = kept.float() if negatives.weights is None else negatives.weights * kept
    if synthesised is None:
        return replace(negatives, weights=weights)
    assert negatives.present is not None
    true = ~_false(held_out, users, synthesised)
    return replace(negatives, weights=weights, present=negatives.present & true)


class GradientBias:
    """Compares the mean gradient under a sampler with that under the oracle's negatives.

    Gradients are those of the ranking loss by the rows of ``view``, over all batches together;
    embeddings of negatives that a sampler made itself are constants.

    Parameters
    ----------
    view
        The trained model.
    loss
        The ranking loss.
    """

    def __init__(self, view: EmbeddingView, loss: RankingLoss) -> None:
        users, items = (rows.detach().requires_grad_() for rows in (view.users, view.items))
        self._leaves = (users, items)
        self._view = EmbeddingView(users, items, unit=view.unit)
        self._loss = loss
        size = sum(rows.numel() for rows in self._leaves)
        # in double precision: the bias is small beside the sums
        self._totals = [torch.zeros(size, dtype=torch.float64) for _ in range(2)]

    def add(self, batch: PairBatch, negatives: Negatives, oracle: Negatives) -> None:
        """Add a batch with its negatives and what `without_false` makes of them."""
        for total, some in zip(self._totals, (negatives, oracle), strict=True):
            value = self._loss(*score_batch(batch, some, self._view))
            gradients = torch.autograd.grad(value, self._leaves)
            total += torch.cat([part.flatten() for part in gradients]) * len(batch.users)

    def measures(self) -> dict[str, float]:
        """``cosine`` of the two, and ``relative_l2``: their difference over the oracle's length.

        1 and 0 without false negatives.
        """
        ours, oracle = self._totals
        return {
            "cosine": float(torch.nn.functional.cosine_similarity(ours, oracle, dim=0)),
            "relative_l2": float((ours - oracle).norm() / oracle.norm()),
        }


def _false(held_out: sp.csr_array, users: npt.NDArray[np.integer], items: Items) -> Tensor:
    """Which items ``[B or 1, N]`` are held-out positives of their user, bool ``[B, N]``."""
    if len(items) == len(users):
        return torch.from_numpy(contains(held_out, users[:, None], items))
    # a pool that all share: as many lookups as pairs and members would take longer
    return torch.from_numpy(held_out[users][:, items[0]].astype(bool).toarray())
