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
    Cost per batch: none.
    """

    def embeddings(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """Return the layer-0 embeddings themselves; see `Backbone.embeddings`."""
        view = self.view(self.table)
        return replace(view, layers=(view,)) if layers else view

    def smooth(self, table: Tensor, buffers: Sequence[Tensor]) -> Tensor:
        """Return the table itself; see `Backbone.smooth`."""
        return table
