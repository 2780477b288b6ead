"""AlphaRec."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from hnlmrec.backbones.graph import normalised_adjacency
from hnlmrec.backbones.protocol import Backbone
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.perceptron import Perceptron


class AlphaRec(Backbone):
    """Texts in the place of a table of embeddings, propagated as LightGCN does.

    Sheng et al., "Language Representations Can be What Recommenders Need: Findings and
    Potentials", ICLR 2025: with ``z_i`` the text vector of an item and ``z_u`` the mean of those
    of the user's training items, ``e^(0) = W2 leaky_relu(W1 z + b1) + b2``, then the mean of
    layers 0 to K of LightGCN. The linear form is ``e^(0) = W z``. The paper trains it with a
    softmax of cosines, here ``loss: {name: sl}``.

    Text vectors are the run's own, without their mean. There is no ID table: L2 is that of the
    layer-0 embeddings. Cost per batch: LightGCN's, and a pass of the map over all nodes.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]``: the graph, and the users' texts.
    item_vectors
        Unit text vectors, float32 ``[n_items, W]``.
    dim
        Size of an embedding.
    layers
        Propagation layers (K).
    hidden
        Hidden width of the map; None for the linear form.
    generator
        Source of the initial values, on the CPU.
    device
        Where the parameters and the graph live.
    """

    def __init__(
        self,
        train: sp.csr_array,
        item_vectors: Tensor,
        dim: int,
        layers: int,
        hidden: int | None,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        nn.Module.__init__(self)  # the base's would make a table
        self.n_users, self.n_items = train.shape
        self.dim, self.layers = dim, layers
        self.texts = torch.cat([_histories(train, item_vectors), item_vectors.cpu()]).to(device)
        self.map = Perceptron(item_vectors.shape[1], dim, hidden, generator).to(device)
        self.adjacency = normalised_adjacency(train, device)

    @property
    def table(self) -> Tensor:  # type: ignore[override]
        """Layer 0, ``[n_users + n_items, dim]``, made anew from the texts."""
        made: Tensor = self.map(self.texts)
        return made

    @property
    def width(self) -> int:
        """Size of an embedding that scores."""
        return self.dim

    def embeddings(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """Average layers 0 to K; see `Backbone.embeddings`."""
        each = [self.table]
        if not layers:
            return self.view(self.adjacency.mean_of_layers(each[0], self.layers))
        for _ in range(self.layers):
            each.append(self.adjacency.product(each[-1]))
        mean = self.view(torch.stack(each).mean(dim=0))
        return replace(mean, layers=tuple(self.view(layer) for layer in each))


def _histories(train: sp.csr_array, item_vectors: Tensor) -> Tensor:
    """The mean text vector of each user's training items, float32 ``[n_users, W]``; 0 for none."""
    counts = np.diff(train.indptr).astype(np.float32)
    share = np.repeat(1 / np.maximum(counts, 1), np.diff(train.indptr)).astype(np.float32)
    seen = sp.csr_array((share, train.indices, train.indptr), shape=train.shape)
    return torch.from_numpy(seen @ item_vectors.cpu().numpy())
