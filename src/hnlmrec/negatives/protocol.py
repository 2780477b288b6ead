"""What a negative sampler is given, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Training pairs of one step.

    Parameters
    ----------
    users, positives
        Indices, int64 ``[B]``.
    index
        Position of each pair in ``Interactions.pairs("train")``, int64 ``[B]``.
    """

    users: Tensor
    positives: Tensor
    index: Tensor


@dataclass(frozen=True, eq=False)
class EmbeddingView:
    """What a backbone scores with: propagated embeddings, with their autograd graph.

    The score of a user and an item is the inner product of their rows.

    Parameters
    ----------
    users, items
        Float ``[n_users, D]`` and ``[n_items, D]``.
    """

    users: Tensor
    items: Tensor

    def detach(self) -> EmbeddingView:
        """Return the same numbers without the graph."""
        return EmbeddingView(self.users.detach(), self.items.detach())


@dataclass(frozen=True, eq=False)
class Negatives:
    """Negatives of a batch.

    Parameters
    ----------
    items
        The catalogue items that the negatives stand on, int64 ``[B, N]``.
    embeddings
        What the ranking loss sees, float ``[B, N, D]``; gradients flow through it.
    synthesised
        Synthesised hard negative of each pair, float ``[B, D]``, for the contrastive loss.
    present
        Which pairs have a synthesised negative, bool ``[B]``; the others fell back to the base.
    """

    items: Tensor
    embeddings: Tensor
    synthesised: Tensor | None = None
    present: Tensor | None = None


def lookup(table: Tensor, index: Tensor) -> Tensor:
    """Take rows of ``table`` ``[R, D]`` by an ``index`` of any shape: float ``[*shape, D]``.

    The same as ``functional.embedding``, with half the cost in the backward pass on a CPU.
    """
    return table.index_select(0, index.flatten()).view(*index.shape, table.shape[1])


class NegativeSampler(Protocol):
    """Chooses the negatives that a batch of training pairs is trained against."""

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Choose negatives of ``batch`` under the current embeddings, never a training positive."""
        ...
