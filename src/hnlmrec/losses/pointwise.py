"""Pointwise losses: positives and negatives each have a target of their own.

Of a pair, the positive's term and the weighted mean over its negatives count. A batch costs
O(B N).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from hnlmrec.losses.weighing import drop_empty, weighted_mean


@dataclass(frozen=True)
class Bce:
    """Binary cross-entropy: ``-log sigmoid(s+) - mean(log(1 - sigmoid(s-)))``.

    He et al., "Neural Collaborative Filtering", WWW 2017, sum over negatives; the mean taken
    here keeps the balance of positives and negatives whatever their number.
    """

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """See `RankingLoss`."""
        rows = functional.softplus(-positive) + weighted_mean(
            functional.softplus(negative), weights
        )
        return drop_empty(rows, weights).mean()


@dataclass(frozen=True)
class Ccl:
    """Cosine contrastive loss: ``(1 - s+) + w mean(max(0, s- - m))``.

    Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM 2021.
    As in the released code, the positive's term is never below 0, which changes nothing for
    cosines. Defaults are those released for Yelp2018, with 800 and more negatives a pair.

    Parameters
    ----------
    margin
        ``m``; a negative that scores below it costs nothing.
    negative_weight
        ``w``.
    """

    margin: float
    negative_weight: float

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """See `RankingLoss`."""
        wrong = weighted_mean(functional.relu(negative - self.margin), weights)
        rows = functional.relu(1 - positive) + self.negative_weight * wrong
        return drop_empty(rows, weights).mean()
