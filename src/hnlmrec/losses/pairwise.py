"""Pairwise losses: each negative is compared with the positive of its pair.

Of a pair, the weighted mean over its negatives counts. A batch costs O(B N).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from hnlmrec.losses.weighing import weighted_mean


@dataclass(frozen=True)
class Bpr:
    """Bayesian personalised ranking: the mean of ``-log sigmoid(s+ - s-)``.

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
    """

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """See `RankingLoss`."""
        return weighted_mean(functional.softplus(negative - positive[:, None]), weights).mean()


@dataclass(frozen=True)
class Hinge:
    """Margin ranking: the mean of ``max(0, margin - s+ + s-)``.

    Weston et al., "WSABIE: Scaling Up to Large Vocabulary Image Annotation", IJCAI 2011, whose
    margin of 1 is the default; here without its weights of ranks.

    Parameters
    ----------
    margin
        How far the positive must be above a negative that costs nothing.
    """

    margin: float

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """See `RankingLoss`."""
        terms = functional.relu(self.margin - positive[:, None] + negative)
        return weighted_mean(terms, weights).mean()
