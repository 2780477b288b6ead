"""What an LLM-enhanced baseline is, and what it is built from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hnlmrec.baselines.picks import Picks
from hnlmrec.negatives.protocol import EmbeddingView, PairBatch


class Baseline(nn.Module):
    """What a model takes from texts beside its sampler and losses; its parameters are trained too.

    It may change the layer-0 table that the backbone reads, and add a loss to a step.
    """

    changes_layer0 = False  # true in those that define `layer0`

    def layer0(self, table: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return the layer-0 table that the backbone is to read.

        Parameters
        ----------
        table
            The backbone's own, float ``[n_users + n_items, dim]``, users first.
        generator
            Source of chance in training, on the table's device; None for evaluation.
        """
        return table

    def loss(self, batch: PairBatch, view: EmbeddingView) -> Tensor | None:
        """Return a scalar with its weight, or None where there is nothing to learn from.

        Parameters
        ----------
        batch
            The pairs of the step.
        view
            What scores, made from what `layer0` returned last.
        """
        return None


@dataclass(frozen=True, eq=False)
class BaselineSetting:
    """What a baseline may be built from.

    Parameters
    ----------
    n_users, n_items
        Of the training interactions.
    dim, width
        Sizes of a layer-0 embedding and of one that scores.
    user_vectors, item_vectors
        Unit text vectors of users' profiles and of items, float32 ``[n, W]``.
    picks
        Favourite and least liked items of users.
    generator
        Source of initial values, on the CPU.
    """

    n_users: int
    n_items: int
    dim: int
    width: int
    generator: torch.Generator
    user_vectors: Tensor | None = None
    item_vectors: Tensor | None = None
    picks: Picks | None = None

    @property
    def texts(self) -> EmbeddingView:
        """The text vectors of users and of items."""
        assert self.user_vectors is not None
        assert self.item_vectors is not None
        return EmbeddingView(self.user_vectors, self.item_vectors)
