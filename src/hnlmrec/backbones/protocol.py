"""What a collaborative-filtering backbone is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from hnlmrec.negatives.protocol import EmbeddingView

_INIT_STD = 0.1  # as in LightGCN


class Backbone(nn.Module, ABC):
    """Layer-0 embeddings of users and items, and what is made of them to score.

    Users and items share one table, so that propagation needs no copy of it.

    Parameters
    ----------
    shape
        Numbers of users and of items. The table is ``[n_users + n_items, dim]``, users first.
    dim
        Size of an embedding.
    generator
        Source of the initial values (normal, deviation 0.1), on the CPU, so that a seed gives the
        same model on every device.
    device
        Where the table lives.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dim: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.n_users, self.n_items = shape
        values = torch.randn(sum(shape), dim, generator=generator) * _INIT_STD
        self.table = nn.Parameter(values.to(device))

    @abstractmethod
    def embeddings(self) -> EmbeddingView:
        """Return what scores: float ``[n_users, D]`` and ``[n_items, D]``, with its graph."""

    def l2(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Return half the squared norms of the layer-0 embeddings of a batch, divided by B.

        Layer 0 and not the propagated embeddings: those are what LightGCN regularises.

        Parameters
        ----------
        users, positives
            Indices, int64 ``[B]``.
        negatives
            Items, int64 ``[B, N]``.

        Returns
        -------
        Tensor
            A scalar.
        """
        rows = torch.cat([users, positives + self.n_users, negatives.flatten() + self.n_users])
        return self.table.index_select(0, rows).square().sum() / (2 * len(users))

    def _split(self, table: Tensor) -> EmbeddingView:
        """Separate the users' from the items' rows of ``[n_users + n_items, D]``."""
        return EmbeddingView(*torch.split(table, [self.n_users, self.n_items]))
