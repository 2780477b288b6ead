"""Dynamic negative sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.scoring import candidate_scores
from hnlmrec.negatives.uninteracted import Uninteracted


class Dns:
    """DNS(M, N): uniform among the ``top`` N best scored of M uniform candidates.

    Zhang et al., "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling",
    SIGIR 2013 (``top = 1``); Shi et al., "On the Theories Behind Hard Negative Sampling for
    Recommendation", WWW 2023 (``top > 1``).
    Cost per batch: B N M draws and inner products.

    Parameters
    ----------
    pool
        The un-interacted items.
    n
        Negatives a pair; each has candidates of its own.
    candidates
        Uniform candidates a negative (M).
    top
        Candidates that may be chosen (N), at most ``candidates``.
    """

    by_row = True

    def __init__(self, pool: Uninteracted, n: int, candidates: int, top: int) -> None:
        self.pool, self.n, self.candidates, self.top = pool, n, candidates, top

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Choose ``n`` hard negatives of each pair."""
        drawn = batch.draw(self.pool, self.n * self.candidates, generator)
        scores = candidate_scores(batch.users, drawn, view)
        shape = (len(drawn), self.n, self.candidates)
        chosen = self._choose(batch, scores.view(shape), generator)
        items = drawn.view(shape).gather(2, chosen).squeeze(2)
        return Negatives(items)

    def _choose(self, batch: PairBatch, scores: Tensor, generator: torch.Generator) -> Tensor:
        """Position of the chosen candidate, int64 ``[B, N, 1]``."""
        if self.top == 1:
            return scores.argmax(dim=2, keepdim=True)
        best = scores.topk(self.top, dim=2).indices
        shape = (len(batch.every.users), self.n, 1)
        place = torch.randint(self.top, shape, generator=generator, device=scores.device)
        return best.gather(2, batch.own(place))
