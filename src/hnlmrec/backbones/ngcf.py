"""NGCF."""

from __future__ import annotations

from dataclasses import replace

import scipy.sparse as sp
import torch
from torch import Tensor, nn
from torch.nn import functional

from hnlmrec.backbones.graph import normalised_adjacency
from hnlmrec.backbones.protocol import Backbone
from hnlmrec.negatives.protocol import EmbeddingView

_SLOPE = 0.2  # of LeakyReLU below 0


class NGCF(Backbone):
    """Layers of a graph convolution with weights, side by side.

    Wang et al., "Neural Graph Collaborative Filtering", SIGIR 2019. With ``A`` the graph as
    ``D^-1/2 A D^-1/2``, a layer is equation 7,
    ``LeakyReLU((A + I) E W1 + (A E * E) W2)``, where ``*`` is elementwise; the embedding is layer
    0 and the others concatenated (equation 9).

    The authors' code differs from the paper in its graph, which there is ``D^-1 (A + I)`` in both
    terms, and in a bias and a LeakyReLU for each term: here the paper holds. What the paper
    leaves open is as in the code: message dropout leaves out entries of a layer after LeakyReLU,
    and a layer is brought to unit length where it is concatenated, but not where the next layer
    is made of it. As in the code, `l2` is of embeddings and not of weights. Weights begin as
    Xavier's uniform values.

    Cost per batch: 2 L products of the graph with a table, and 6 L of the table with a matrix
    ``[dim, dim]``; memory of the backward pass is several tables a layer.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]``: the graph.
    dim
        Size of a layer.
    layers
        Propagation layers (L); 0 is matrix factorisation.
    dropout
        Share of the entries of a layer that is left out in training; the code's is 0.1.
    generator
        Source of the initial values, on the CPU.
    device
        Where the parameters and the graph live.
    """

    def __init__(
        self,
        train: sp.csr_array,
        dim: int,
        layers: int,
        dropout: float,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(train.shape, dim, generator, device)
        self.dropout = dropout
        self.adjacency = normalised_adjacency(train, device)
        self.sum_weights = _xavier(layers, dim, generator, device)
        self.product_weights = _xavier(layers, dim, generator, device)

    @property
    def width(self) -> int:
        """``dim * (L + 1)``."""
        return self.table.shape[1] * (1 + len(self.sum_weights))

    def embeddings(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """Concatenate layers 0 to L; each of ``layers`` has width ``dim``.

        See `Backbone.embeddings`.
        """
        each = self._propagated(generator)
        view = self.view(torch.cat(each, dim=1))
        return replace(view, layers=tuple(map(self.view, each))) if layers else view

    def _propagated(self, generator: torch.Generator | None) -> list[Tensor]:
        """Layers 0 to L as they are concatenated, each float ``[n_users + n_items, dim]``."""
        each: list[Tensor] = [self.table]
        x: Tensor = self.table
        for of_sum, of_product in zip(self.sum_weights, self.product_weights, strict=True):
            neighbours = self.adjacency.product(x)
            x = (x + neighbours) @ of_sum + (x * neighbours) @ of_product
            x = self._dropped(functional.leaky_relu(x, _SLOPE), generator)
            each.append(functional.normalize(x, dim=1))
        return each

    def _dropped(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None or self.dropout == 0:
            return x
        kept = torch.rand(x.shape, generator=generator, device=x.device) >= self.dropout
        return x * kept / (1 - self.dropout)


def _xavier(
    layers: int, dim: int, generator: torch.Generator, device: torch.device | str
) -> nn.Parameter:
    """Weights of all layers, float ``[layers, dim, dim]`` (Glorot and Bengio, AISTATS 2010)."""
    bound = (6 / (dim + dim)) ** 0.5
    values = (2 * torch.rand(layers, dim, dim, generator=generator) - 1) * bound
    return nn.Parameter(values.to(device))
