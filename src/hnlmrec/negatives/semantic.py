"""HNLMRec's sampler: synthesised negatives mixed with those of any base sampler."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.alignment import Adapter
from hnlmrec.config import SemanticConfig
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, NegativeSampler, PairBatch


class HardNegativeSource(Protocol):
    """Where the hard-negative vector of a training pair comes from."""

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Unit float32 vectors ``[B, width]`` of pairs ``[B]`` and which of them exist, bool."""
        ...


class Semantic:
    """Mix a pair's synthesised negative into each base negative.

    The mixed negative is ``alpha * e_hard + (1 - alpha) * e_neg`` (HNLMRec, arXiv 2504.04726),
    where ``e_hard`` is the adapter's image of the synthesised vector, scaled to the norm of
    ``e_neg``. A pair without a synthesised vector keeps its base negative and is counted.
    Cost per batch: the base sampler's, a read of B vectors and one pass of the adapter.

    Parameters
    ----------
    base
        Sampler of ``e_neg``.
    source
        Gives the synthesised vector of a training pair.
    adapter
        Maps it to the CF space.
    config
        Mixing weight, rescaling and gradient.
    """

    def __init__(
        self,
        base: NegativeSampler,
        source: HardNegativeSource,
        adapter: Adapter,
        config: SemanticConfig,
    ) -> None:
        self.base = base
        self.source = source
        self.adapter = adapter
        self.config = config

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Draw base negatives and mix the synthesised ones in; see `NegativeSampler`."""
        base = self.base.sample(batch, view, generator)
        vectors, present = self.source.vectors(batch.index)
        hard = self.adapter(vectors).unsqueeze(1)  # [B, 1, dim]
        if self.config.rescale:
            norms = base.embeddings.detach().norm(dim=-1, keepdim=True)
            hard = F.normalize(hard, dim=-1) * norms
        if self.config.stop_gradient:
            hard = hard.detach()
        weight = self.config.alpha * present[:, None, None]
        return Negatives(
            items=base.items,
            embeddings=weight * hard + (1 - weight) * base.embeddings,
            synthesised=hard[:, 0],
            present=present,
        )
