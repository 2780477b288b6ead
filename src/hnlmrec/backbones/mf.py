"""Matrix factorisation."""

from __future__ import annotations

from hnlmrec.backbones.protocol import Backbone
from hnlmrec.negatives.protocol import EmbeddingView


class MatrixFactorisation(Backbone):
    """The inner product of a user's and an item's embedding.

    Koren, Bell and Volinsky, "Matrix Factorization Techniques for Recommender Systems", 2009.
    """

    def embeddings(self) -> EmbeddingView:
        """Return the layer-0 embeddings themselves."""
        return self._split(self.table)
