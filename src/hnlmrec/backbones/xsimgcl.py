"""XSimGCL."""

from __future__ import annotations

import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.backbones.contrast import BatchNodes, Contrast
from hnlmrec.backbones.perturbed import PerturbedGCN
from hnlmrec.negatives.protocol import EmbeddingView, PairBatch


class XSimGCL(PerturbedGCN):
    """A LightGCN with noise, whose embeddings must agree with one of its own layers.

    Yu et al., "XSimGCL: Towards Extremely Simple Graph Contrastive Learning for Recommendation",
    TKDE 2023. In training there is one pass with noise on every layer (the noise of `SimGCL`):
    the mean of layers 1 to L is what scores, and it is compared with layer ``contrastive_layer``
    (the paper's ``l*``) for the distinct users and positives of a batch. Evaluation has no noise.
    The settings of the authors' code (Coder-Yu/SELFRec) are weight 0.2, temperature 0.15, noise
    0.2 and layer 1.

    Cost per batch: 2 L products of the graph with a table, and L tables of random numbers.

    Parameters
    ----------
    contrastive_layer
        From 1 to ``layers``.

    The others are `PerturbedGCN`'s.
    """

    def __init__(
        self,
        train: sp.csr_array,
        dim: int,
        layers: int,
        noise: float,
        contrastive_layer: int,
        contrast: Contrast,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(train, dim, layers, noise, contrast, generator, device)
        self.contrastive_layer = contrastive_layer

    def propagated(self, generator: torch.Generator | None) -> list[Tensor]:
        """Layers 1 to L, each with noise and made of the one before; None: without noise."""
        if generator is None:
            return super().propagated(None)
        each: list[Tensor] = []
        x: Tensor = self.table
        for _ in range(self.layers):
            x = self.adjacency.product(x)
            x = x + self.noise_on(x, generator)
            each.append(x)
        return each

    def auxiliary(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Tensor | None:
        """Compare the mean of the layers with one of them; see `Backbone.auxiliary`.

        Nothing is drawn or propagated: both are in ``view``. Cosines do not see whether a loss
        has already brought the mean to unit length.
        """
        if self.contrast.weight == 0:
            return None
        nodes = BatchNodes.of(batch, self.n_users)
        layer = view.layers[self.contrastive_layer - 1]
        first, second = (_rows(one, nodes) for one in (view, layer))
        return self.contrast.loss(nodes, first, second)


def _rows(view: EmbeddingView, nodes: BatchNodes) -> Tensor:
    assert view.table is not None
    return view.table.index_select(0, nodes.rows)
