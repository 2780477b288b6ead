"""A filter of likely false negatives by their texts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.config.samplers import MeaningConfig
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, NegativeSampler, PairBatch
from hnlmrec.negatives.scoring import score_batch
from hnlmrec.negatives.uninteracted import Uninteracted
from hnlmrec.negatives.warmup import with_items


class Meaning:
    """Negatives whose texts suit the user about as well as the positive's are not trusted.

    With ``c`` the cosine of an item's text vector and the user's, a negative is refused when
    ``c- > c+ - margin |c+|``. So `hnlmrec.negatives.guard.Guard` does with the model's scores; the
    language model as a judge of false negatives is the idea of LLMHNI and of DTL-NS. The released
    code of the latter filters candidates with validation and test labels. Here training
    interactions and texts are all that is read.

    A refused negative leaves the loss (``drop``: weight 0), gives way to one uniform draw, which
    may be close too (``replace``), or counts less (``weigh``). Cost per batch: the base's, and the
    cosines of its items.

    Parameters
    ----------
    base
        Any ID-based sampler.
    pool
        The un-interacted items.
    texts
        Unit text vectors of users and of items.
    config
        Margin, and what becomes of a refused one.
    """

    by_row = True

    def __init__(
        self,
        base: NegativeSampler,
        pool: Uninteracted,
        texts: EmbeddingView,
        config: MeaningConfig,
    ) -> None:
        self.base, self.pool, self.texts, self.config = base, pool, texts, config

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Sample from the base, and drop, replace or weigh what suits the user too well."""
        negatives = self.base.sample(batch, view, generator)
        refused = self._refused(batch, negatives)
        if self.config.action == "replace" and len(negatives.items) == len(batch.users):
            uniform = batch.draw(self.pool, negatives.items.shape[1], generator)
            return with_items(negatives, refused, uniform, view)
        weights = negatives.weights
        if weights is None:
            weights = torch.ones(refused.shape, device=refused.device)
        factor = self.config.weight if self.config.action == "weigh" else 0.0
        return replace(negatives, weights=torch.where(refused, factor * weights, weights))

    @torch.no_grad()
    def _refused(self, batch: PairBatch, negatives: Negatives) -> Tensor:
        """Which negatives are within the margin, bool ``[B, N]``."""
        positive, found, _ = score_batch(batch, Negatives(negatives.items), self.texts)
        return found > (positive - self.config.margin * positive.abs()).unsqueeze(1)


def history_vectors(item_vectors: Tensor, pool: Uninteracted) -> Tensor:
    """Unit mean text of each user's training items, float32 ``[n_users, width]``; 0 for none."""
    items, starts = pool.items.long(), pool.indptr[:-1]
    return F.normalize(F.embedding_bag(items, item_vectors, starts, mode="mean"), dim=1)
