"""Uniform negatives."""

from __future__ import annotations

import torch

from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.uninteracted import Uninteracted


class Uniform:
    """Negatives drawn uniformly from a user's un-interacted items.

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
    Cost per batch: B N draws, each a binary search in a user's history.

    Parameters
    ----------
    pool
        The un-interacted items.
    n
        Negatives a pair.
    """

    by_row = True

    def __init__(self, pool: Uninteracted, n: int) -> None:
        self.pool, self.n = pool, n

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Draw ``n`` negatives of each pair."""
        return Negatives(batch.draw(self.pool, self.n, generator))
