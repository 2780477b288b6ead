"""LightGCN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.backbones.graph import normalised_adjacency
from hnlmrec.backbones.protocol import Backbone
from hnlmrec.negatives.protocol import EmbeddingView


class LightGCN(Backbone):
    """Embeddings averaged over the layers of a linear graph convolution.

    He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation",
    SIGIR 2020, equations 3 and 4 with ``alpha_k = 1 / (K + 1)``.

    Cost per batch: 2 K products of the graph with the table, ``O(K (edges + nodes) dim)``.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]``: the graph.
    dim
        Size of an embedding.
    layers
        Propagation layers (K); 0 is matrix factorisation.
    generator
        Source of the initial values, on the CPU.
    device
        Where the table and the graph live.
    """

    def __init__(
        self,
        train: sp.csr_array,
        dim: int,
        layers: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(train.shape, dim, generator, device)
        self.layers = layers
        self.adjacency = normalised_adjacency(train, device)

    def embeddings(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """Average layers 0 to K; see `Backbone.embeddings`."""
        if not layers:
            return self.view(self.adjacency.mean_of_layers(self.table, self.layers))
        each = self.propagated()
        mean = self.view(torch.stack(each).mean(dim=0))
        return replace(mean, layers=tuple(self.view(layer) for layer in each))

    def smooth(self, table: Tensor, buffers: Sequence[Tensor]) -> Tensor:
        """Average layers 0 to K of any table; see `Backbone.smooth`."""
        return self.adjacency.plain_mean_of_layers(table, self.layers, buffers)

    def propagated(self) -> list[Tensor]:
        """Layers 0 to K, each float ``[n_users + n_items, dim]``."""
        each: list[Tensor] = [self.table]
        for _ in range(self.layers):
            each.append(self.adjacency.product(each[-1]))
        return each
