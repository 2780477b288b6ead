"""What a negative sampler is given, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hnlmrec.distributed import ALONE, World
from hnlmrec.negatives.uninteracted import Uninteracted


@dataclass(frozen=True, eq=False)
class PairBatch:
    """Training pairs of one step, or those of them that one of several processes takes.

    Parameters
    ----------
    users, positives
        Indices, int64 ``[B]``.
    index
        Position of each pair in ``Interactions.pairs("train")``, int64 ``[B]``.
    epoch
        The epoch that the step belongs to, from 1; schedules of hardness read it.
    whole
        The batch that these pairs are a part of; None: they are all of it.
    start
        Place of the first of them in it.
    """

    users: Tensor
    positives: Tensor
    index: Tensor
    epoch: int = 1
    whole: PairBatch | None = None
    start: int = 0

    @property
    def every(self) -> PairBatch:
        """The whole batch."""
        return self if self.whole is None else self.whole

    def part(self, rows: slice) -> PairBatch:
        """Some pairs of a whole batch."""
        users, positives, index = self.users[rows], self.positives[rows], self.index[rows]
        return PairBatch(users, positives, index, self.epoch, self, rows.start)

    def own(self, drawn: Tensor) -> Tensor:
        """The rows of these pairs in what has a row for each pair of the whole batch."""
        if self.whole is None:
            return drawn
        return drawn[self.start : self.start + len(self.users)]

    def draw(self, pool: Uninteracted, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` un-interacted items of each pair's user, int64 ``[B, n]``.

        They are those that one process would draw for the whole batch.
        """
        return pool.sample(self.users, n, generator, self.start, len(self.every.users))


@dataclass(frozen=True, eq=False)
class EmbeddingView:
    """What a backbone scores with: propagated embeddings, with their autograd graph.

    The score of a user and an item is the inner product of their rows.

    Parameters
    ----------
    users, items
        Float ``[n_users, D]`` and ``[n_items, D]``.
    layers
        The layers that these are made of, lowest first, as they are; for those who asked for them.
    table
        The tensor of which users and items are the two parts, when there is one: its gradient
        can be made in one piece.
    unit
        Whether the rows are at unit length, so that scores are cosines.
    summed_over
        Processes of which each has some of the columns: a score is the sum over all of them.
    """

    users: Tensor
    items: Tensor
    layers: tuple[EmbeddingView, ...] = ()
    table: Tensor | None = None
    unit: bool = False
    summed_over: World = ALONE

    @classmethod
    def of_table(cls, table: Tensor, n_users: int) -> EmbeddingView:
        """Split ``[n_users + n_items, D]``, users first."""
        return cls(table[:n_users], table[n_users:], table=table)

    def detach(self) -> EmbeddingView:
        """Return the same numbers without the graph, and without layers."""
        if self.table is not None:
            view = EmbeddingView.of_table(self.table.detach(), len(self.users))
        else:
            view = EmbeddingView(self.users.detach(), self.items.detach())
        return replace(view, unit=self.unit, summed_over=self.summed_over)

    def normalised(self) -> EmbeddingView:
        """Return the rows at unit length, so that scores are cosines; layers as they are."""
        if self.table is not None:
            view = EmbeddingView.of_table(normalize(self.table, dim=1), len(self.users))
            return replace(view, layers=self.layers, unit=True)
        users, items = normalize(self.users, dim=1), normalize(self.items, dim=1)
        return EmbeddingView(users, items, self.layers, unit=True)


@dataclass(frozen=True, eq=False)
class Negatives:
    """Negatives of a batch.

    Parameters
    ----------
    items
        The catalogue items that the negatives stand on, int64 ``[B, N]``; ``[1, N]`` when all
        pairs of the batch share them.
    embeddings
        What the ranking loss sees, float ``[B, N, D]``; gradients flow through it, and a loss
        of cosines sees it at unit length. None: the rows of ``items``.
    weights
        How much each negative counts, float ``[B, N]``, 0 for not at all. None: all the same.
    loss
        A loss of the sampler's own, a scalar that is added to the others.
    synthesised
        Synthesised hard negatives of each pair, its own first, float ``[B, S, D]``; negative ``n``
        is mixed with that of number ``n % S``. Of the first pairs alone where they stay out of the
        ranking loss and no more are looked at.
    present
        Which of them there are, bool ``[B, S]``; without one, a negative is the base's alone.
    lengths
        Factor of ``synthesised`` where it meets each negative, float ``[B or 1, N]``.
    mixed
        Weight of the synthesised negative in each negative (``alpha``).
    extra
        Weight of each synthesised negative as one more negative of its pair; 0: it is none.
    texts
        Synthesised negatives as the adapter gives them, with its graph, float ``[B, S, D]``, where
        they compete with the texts of items; else None.
    """

    items: Tensor
    embeddings: Tensor | None = None
    weights: Tensor | None = None
    loss: Tensor | None = None
    synthesised: Tensor | None = None
    present: Tensor | None = None
    lengths: Tensor | None = None
    mixed: float = 0.0
    extra: float = 0.0
    texts: Tensor | None = None

    @property
    def meets_ranking(self) -> bool:
        """Whether synthesised negatives enter the ranking loss."""
        return self.synthesised is not None and (self.mixed > 0 or self.extra > 0)


@dataclass(frozen=True, eq=False)
class SamplerSetting:
    """What a sampler may be built from.

    Parameters
    ----------
    pool
        The un-interacted items.
    n
        Negatives a pair.
    counts
        Training interactions of each item, int64 ``[n_items]``.
    n_users
        Number of users.
    width
        Size of an embedding.
    generator
        Source of initial values, on the CPU.
    device
        Where the negatives are drawn.
    item_vectors, user_vectors
        Unit text vectors of items and of users' profiles, float32 ``[n, W]``, for what reads them.
    """

    pool: Uninteracted
    n: int
    counts: npt.NDArray[np.int64]
    n_users: int
    width: int
    generator: torch.Generator
    device: torch.device | str = "cpu"
    item_vectors: Tensor | None = None
    user_vectors: Tensor | None = None


def lookup(table: Tensor, index: Tensor) -> Tensor:
    """Take rows of ``table`` ``[R, D]`` by an ``index`` of any shape: float ``[*shape, D]``.

    The same as ``functional.embedding``, with half the cost in the backward pass on a CPU.
    """
    return table.index_select(0, index.flatten()).view(*index.shape, table.shape[1])


class NegativeSampler(Protocol):
    """Chooses the negatives that a batch of training pairs is trained against.

    A sampler that needs the layers of the backbone says so by an attribute ``needs_layers``;
    one whose negatives of a pair depend on no other pair's says so by a class attribute
    ``by_row``, and draws through `PairBatch.draw` and `PairBatch.own`: several processes then
    share the pairs of a batch out, where else each samples for all of them;
    one that stands on another has it as ``base``; one with parameters or state is an
    ``nn.Module``, and they are trained and saved with the model.
    """

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Choose negatives of ``batch`` under the current embeddings, never a training positive."""
        ...
