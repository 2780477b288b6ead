"""The adapter from the language model's space to the CF space, and what it is aligned on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnlmrec.config import AlignmentConfig
from hnlmrec.losses import info_nce


class Adapter(nn.Module):
    """A two-layer perceptron from text vectors to CF embeddings.

    The paper's adapter is self-attention and an MLP; attention over a single vector is a linear
    map, so the MLP stands alone here.

    Parameters
    ----------
    width
        Size of a text vector.
    dim
        Size of a CF embedding.
    hidden
        Width of the hidden layer.
    generator
        Source of the initial weights.
    """

    def __init__(self, width: int, dim: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, dim)
        with torch.no_grad():
            for layer in (self.inner, self.outer):
                bound = 1 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()

    def forward(self, vectors: Tensor) -> Tensor:
        """Map unit text vectors ``[..., width]`` to ``[..., dim]``."""
        # unit vectors have entries of about 1/sqrt(width); the layers expect about 1
        scaled = vectors * math.sqrt(self.inner.in_features)
        output: Tensor = self.outer(F.gelu(self.inner(scaled)))
        return output


class ItemAlignment:
    """InfoNCE between adapted item texts and the CF embeddings of the same items.

    Parameters
    ----------
    adapter
        The adapter to train.
    item_vectors
        Unit text vectors of all items, float ``[n_items, width]``.
    config
        Weight, temperature and whether the item embeddings learn from it too.
    """

    def __init__(self, adapter: Adapter, item_vectors: Tensor, config: AlignmentConfig) -> None:
        self.adapter = adapter
        self.item_vectors = item_vectors
        self.config = config

    def loss(self, positives: Tensor, item_embeddings: Tensor) -> Tensor:
        """The weighted loss over the distinct items of a batch.

        Parameters
        ----------
        positives
            Items of the batch, int64 ``[B]``.
        item_embeddings
            Embeddings of all items, ``[n_items, dim]``.
        """
        items = positives.unique()[: self.config.max_items]
        embeddings = item_embeddings.index_select(0, items)
        if self.config.detach_items:
            embeddings = embeddings.detach()
        texts = self.adapter(self.item_vectors.index_select(0, items))
        return self.config.weight * info_nce(texts, embeddings, self.config.temperature)
