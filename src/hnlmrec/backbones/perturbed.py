"""What SimGCL and XSimGCL share: a LightGCN without layer 0, and noise on its layers."""

from __future__ import annotations

from dataclasses import replace

import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hnlmrec.backbones.contrast import Contrast
from hnlmrec.backbones.graph import normalised_adjacency
from hnlmrec.backbones.protocol import Backbone
from hnlmrec.negatives.protocol import EmbeddingView


class PerturbedGCN(Backbone):
    """Embeddings averaged over layers 1 to L of a linear graph convolution.

    A node without an interaction is 0 in every layer, noise included, and so scores 0.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]``: the graph.
    dim
        Size of an embedding.
    layers
        Propagation layers (L), at least 1.
    noise
        Length of the noise on a row of a layer.
    contrast
        The contrastive loss.
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
        noise: float,
        contrast: Contrast,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(train.shape, dim, generator, device)
        self.layers, self.noise, self.contrast = layers, noise, contrast
        self.adjacency = normalised_adjacency(train, device)

    def embeddings(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """Average layers 1 to L; see `Backbone.embeddings`.

        The view has layers 1 to L, without 0, of which the average is made; in training always,
        because `auxiliary` starts from them.
        """
        if generator is None and not layers:
            first = self.adjacency.product(self.table)
            return self.view(self.adjacency.mean_of_layers(first, self.layers - 1))
        each = self.propagated(generator)
        view = self.view(mean_of(each))
        return replace(view, layers=tuple(map(self.view, each)))

    def propagated(self, generator: torch.Generator | None) -> list[Tensor]:
        """Layers 1 to L without noise, each float ``[n_users + n_items, dim]``."""
        each = [self.adjacency.product(self.table)]
        while len(each) < self.layers:
            each.append(self.adjacency.product(each[-1]))
        return each

    def noise_on(self, layer: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noise for each row of a layer: of length `noise`, in the orthant of the row.

        ``noise * sign(row) * x / |x|`` with ``x`` uniform in ``[0, 1)^dim``; a constant of the
        gradient, because the sign is.
        """
        drawn = torch.rand(layer.shape, generator=generator, device=layer.device)
        return normalize(drawn, dim=1).mul_(layer.detach().sign()).mul_(self.noise)


def mean_of(tables: list[Tensor]) -> Tensor:
    """The mean of tables of one shape, without a copy of all of them side by side."""
    total = tables[0]
    for table in tables[1:]:
        total = total + table
    return total / len(tables)
