"""AHNS."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.scoring import candidate_scores
from hnlmrec.negatives.uninteracted import Uninteracted


class Ahns:
    """The candidate whose score is nearest to a target that falls with the positive's score.

    ``j = argmin_m |s_m - beta (s+ + alpha) ** (p + 1)|`` with ``p < -1``: a positive that scores
    low has a hard negative, one that scores high an easy one.

    Lai et al., "Adaptive Hardness Negative Sampling for Collaborative Filtering", AAAI 2024;
    defaults (32 candidates, p = -2, alpha = 1, beta = 0.1) are those of the released code. The
    target is infinite at ``s+ = -alpha``. Below, the released code takes the power of a negative
    number, which turns the hardest choice into the easiest for an even ``p`` and is no number
    for one that is not whole; here the target stays infinite, the hardest candidate, so that
    hardness never rises with the positive's score.
    Cost per batch: B N M draws and inner products.

    Parameters
    ----------
    pool
        The un-interacted items.
    n
        Negatives a pair; each has candidates of its own.
    candidates
        Uniform candidates a negative (M).
    alpha, beta, power
        The curve; ``power`` is p.
    """

    by_row = True

    def __init__(
        self,
        pool: Uninteracted,
        n: int,
        candidates: int,
        alpha: float,
        beta: float,
        power: float,
    ) -> None:
        self.pool, self.n, self.candidates = pool, n, candidates
        self.alpha, self.beta, self.power = alpha, beta, power

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Choose ``n`` negatives of each pair, as hard as its positive demands."""
        drawn = batch.draw(self.pool, self.n * self.candidates, generator)
        both = torch.cat([batch.positives.unsqueeze(1), drawn], dim=1)
        scores = candidate_scores(batch.users, both, view)
        shape = (len(drawn), self.n, self.candidates)
        candidates = scores[:, 1:].reshape(shape)
        # no candidate is above its best, so a target beyond it, even infinite, means the best
        target = torch.minimum(
            self._target(scores[:, :1]).unsqueeze(2), candidates.amax(dim=2, keepdim=True)
        )
        place = (candidates - target).abs().argmin(dim=2, keepdim=True)
        return Negatives(drawn.view(shape).gather(2, place).squeeze(2))

    def _target(self, positive: Tensor) -> Tensor:
        """Score that a negative should have, given its positive's."""
        shifted = (positive + self.alpha).clamp_min(0)
        return self.beta * shifted ** (self.power + 1)
