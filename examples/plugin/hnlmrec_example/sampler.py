"""A negative sampler."""

import torch

from hnlmrec.negatives import EmbeddingView, Negatives, PairBatch, Popularity, SamplerSetting
from hnlmrec.negatives.scoring import candidate_scores


class HardestPopular:
    """The best scored of several un-interacted items that were drawn by popularity."""

    def __init__(self, setting: SamplerSetting, candidates: int = 8, beta: float = 0.75) -> None:
        self.shape = (-1, setting.n, candidates)
        self.draws = Popularity(setting.pool, setting.n * candidates, setting.counts, beta)

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Choose the negatives of each pair, int64 ``[B, N]``."""
        drawn = self.draws.sample(batch, view, generator).items
        scores = candidate_scores(batch.users, drawn, view).view(self.shape)
        best = scores.argmax(dim=2, keepdim=True)
        return Negatives(drawn.view(self.shape).gather(2, best).squeeze(2))
