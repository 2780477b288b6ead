"""Matrix factorisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hnlmrec.backbones.protocol import Backbone
from hnlmrec.negatives.protocol import EmbeddingView


class MatrixFactorisation(Backbone):
    """The inner product of a user's and an item's embedding.

    Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", 2009.
    Initial values of deviation 0.01, not LightGCN's 0.1: nothing averages them out here, and with
    0.1 most of what an item's vector says is still noise after 60 epochs (docs/performance.md).
    Cost per batch: none.
    """

    init_std = 0.01

    def embeddings(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """Return the layer-0 embeddings themselves; see `Backbone.embeddings`."""
        view = self.view(self.table)
        return replace(view, layers=(view,)) if layers else view

    def smooth(self, table: Tensor, buffers: Sequence[Tensor]) -> Tensor:
        """Return the table itself; see `Backbone.smooth`."""
        return table
