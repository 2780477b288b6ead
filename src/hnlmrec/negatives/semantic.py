"""HNLMRec's sampler: synthesised negatives beside those of any base sampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.alignment import Adapter
from hnlmrec.config import SemanticConfig
from hnlmrec.negatives.protocol import (
    EmbeddingView,
    Negatives,
    NegativeSampler,
    PairBatch,
    lookup,
)


class HardNegativeSource(Protocol):
    """Where the hard-negative vector of a training pair comes from."""

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Unit float32 vectors ``[B, width]`` of pairs ``[B]`` and which of them exist, bool."""
        ...


class Semantic:
    """Put a pair's synthesised negative beside the negatives of any base sampler.

    HNLMRec (arXiv 2504.04726) mixes: ``alpha * e_hard + (1 - alpha) * e_neg``, where ``e_hard`` is
    the adapter's image of the synthesised vector, scaled to the norm of ``e_neg``. It may also
    stand in the place of each negative (``alpha = 1``) or be one more negative of the pair, with
    a weight: in a softmax loss, one more term of the denominator. Or it leaves the ranking loss
    alone and competes with the texts of items, where users find the texts of theirs.

    A pair without a synthesised vector keeps its base negatives and is counted.
    Cost per batch: the base sampler's, a read of B S vectors and one pass of the adapter.

    Parameters
    ----------
    base
        Sampler of ``e_neg``.
    source
        Gives the synthesised vector of a training pair.
    adapter
        Maps it to the CF space.
    config
        How it enters, its weight, rescaling and gradient.
    indptr
        Where each user's training pairs begin and the last one's end, int64 ``[n_users + 1]``.
    most
        Pairs of a batch that get one where it is a text, the first; None for all.
    """

    by_row = True

    def __init__(
        self,
        base: NegativeSampler,
        source: HardNegativeSource,
        adapter: Adapter,
        config: SemanticConfig,
        indptr: Tensor,
        most: int | None = None,
    ) -> None:
        self.base = base
        self.source = source
        self.adapter = adapter
        self.config = config
        self.indptr = indptr
        self.most = most if config.enter == "text" else None

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Draw base negatives and add the synthesised ones; see `NegativeSampler`."""
        base = self.base.sample(batch, view, generator)
        # texts meet those of the whole batch, so every process has all of them
        pairs = batch.every if self.config.enter == "text" else batch
        index = self._pairs(pairs, generator)[: self.most]
        vectors, present = self.source.vectors(index.flatten())
        hard = self.adapter(vectors).unflatten(0, index.shape)
        lengths = torch.ones((1, base.items.shape[1]), dtype=hard.dtype, device=hard.device)
        texts = hard if self.config.enter == "text" else None
        if self.config.rescale:
            hard = F.normalize(hard, dim=-1)
        if self.config.rescale and not view.unit and texts is None:
            rows = lookup(view.items, base.items) if base.embeddings is None else base.embeddings
            lengths = rows.detach().norm(dim=-1)
        if self.config.stop_gradient:
            hard = hard.detach()
        return replace(
            base,
            synthesised=hard,
            present=present.view(index.shape),
            lengths=lengths,
            mixed=self.share(batch.epoch),
            extra=self.config.weight if self.config.enter == "extra" else 0.0,
            texts=texts,
        )

    def _pairs(self, batch: PairBatch, generator: torch.Generator) -> Tensor:
        """The pairs whose synthesised negatives each pair meets, int64 ``[B, S]``: its own first.

        The others are drawn from its user's training pairs, with replacement.
        """
        own, others = batch.index[:, None], self.config.draws - 1
        if others == 0:
            return own
        first, end = self.indptr[batch.users, None], self.indptr[batch.users + 1, None]
        size = (len(batch.every.users), others)
        draws = batch.own(torch.rand(size, generator=generator, device=own.device))
        return torch.cat([own, first + (draws * (end - first)).long()], dim=1)

    def share(self, epoch: int) -> float:
        """Weight of the synthesised negative in a mixture in an epoch, counted from 1."""
        config = self.config
        if config.enter != "mixture":
            return 1.0 if config.enter == "negative" else 0.0
        if config.alpha_epochs == 0:
            return config.alpha
        passed = min(1.0, (epoch - 1) / config.alpha_epochs)
        return config.alpha_start + passed * (config.alpha - config.alpha_start)
