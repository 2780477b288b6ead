"""LightGCN."""

from __future__ import annotations

import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.backbones.propagation import mean_of_layers, normalised_adjacency
from hnlmrec.backbones.protocol import Backbone
from hnlmrec.negatives.protocol import EmbeddingView


class LightGCN(Backbone):
    """Embeddings averaged over the layers of a linear graph convolution.

    He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation",
    2020, equations 3 and 4 with ``alpha_k = 1 / (K + 1)``.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]``: the graph.
    dim
        Size of an embedding.
    layers
        Propagation layers; 0 is matrix factorisation.
    generator
        Source of the initial values, on the CPU.
    device
        Where the table and the graph live.
    """

    adjacency: Tensor

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
        # A buffer moves with the module; it is rebuilt from the data, so a checkpoint omits it.
        self.register_buffer("adjacency", normalised_adjacency(train, device), persistent=False)

    def embeddings(self) -> EmbeddingView:
        """Average layers 0 to ``layers``."""
        return self._split(mean_of_layers(self.table, self.adjacency, self.layers))
