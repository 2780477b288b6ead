"""A guard against likely false negatives."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hnlmrec.negatives.protocol import EmbeddingView, Negatives, NegativeSampler, PairBatch
from hnlmrec.negatives.scoring import score_batch
from hnlmrec.negatives.uninteracted import Uninteracted
from hnlmrec.negatives.warmup import with_items


class Guard:
    """Negatives that score too close to their positive are not used.

    A negative is refused when ``s- > s+ - margin |s+|``: an un-interacted item that the model
    ranks about as high as what the user took is likely one that the user would take. The margin
    relative to the positive's score is that of NV-Retriever (Moreira et al., 2024,
    arXiv 2407.15831), there ``s- > (1 - margin) s+`` for scores above 0; the absolute value makes
    it a margin below the positive for all scores.

    A refused negative gives way to one uniform draw, which may lie within the margin too; where
    the base weighs its negatives, as shared pools do, its weight becomes 0 instead. The test
    sees what the loss sees: with cosines, rows of unit length, and embeddings that are scaled to
    it. No gradient passes through it.
    Cost per batch: the base's, the scores once more, and B N draws without weights.

    Parameters
    ----------
    base
        Any ID-based sampler.
    pool
        The un-interacted items.
    margin
        At least 0.
    """

    by_row = True

    def __init__(self, base: NegativeSampler, pool: Uninteracted, margin: float) -> None:
        self.base, self.pool, self.margin = base, pool, margin

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Sample from the base, and drop or replace what scores too high."""
        negatives = self.base.sample(batch, view, generator)
        refused = self._refused(batch, negatives, view)
        if negatives.weights is not None:
            return replace(negatives, weights=negatives.weights.masked_fill(refused, 0.0))
        uniform = batch.draw(self.pool, negatives.items.shape[1], generator)
        return with_items(negatives, refused, uniform, view)

    @torch.no_grad()
    def _refused(self, batch: PairBatch, negatives: Negatives, view: EmbeddingView) -> Tensor:
        """Which negatives score within the margin, bool ``[B, N]``."""
        positive, scores, _ = score_batch(batch, negatives, view)
        if negatives.embeddings is not None and view.unit:
            scores = scores / negatives.embeddings.norm(dim=2)
        return scores > (positive - self.margin * positive.abs()).unsqueeze(1)
