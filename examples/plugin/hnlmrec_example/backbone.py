"""A backbone."""

from dataclasses import replace

import scipy.sparse as sp
import torch

from hnlmrec.backbones import LightGCN
from hnlmrec.negatives import EmbeddingView


class LastLayer(LightGCN):
    """LightGCN that scores with its last layer, and keeps some of layer 0."""

    def __init__(
        self,
        train: sp.csr_array,
        dim: int,
        layers: int,
        generator: torch.Generator,
        device: torch.device | str,
        keep: float = 0.1,
    ) -> None:
        super().__init__(train, dim, layers, generator, device)
        self.keep = keep

    def embeddings(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """Mix the first with the last layer; without dropout or noise, nothing is drawn."""
        each = self.propagated()
        view = self.view(self.keep * each[0] + (1 - self.keep) * each[-1])
        return replace(view, layers=(view,)) if layers else view
