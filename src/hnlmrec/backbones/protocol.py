"""What a collaborative-filtering backbone is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from hnlmrec.kernels import squared_norms
from hnlmrec.negatives.protocol import EmbeddingView, PairBatch


class Backbone(nn.Module, ABC):
    """Layer-0 embeddings of users and items, and what is made of them to score.

    Users and items share one table, so that propagation needs no copy of it.

    Parameters
    ----------
    shape
        Numbers of users and of items. The table is ``[n_users + n_items, dim]``, users first.
    dim
        Size of a layer-0 embedding.
    generator
        Source of the initial values (normal, deviation `init_std`), on the CPU, so that a seed
        gives the same model on every device.
    device
        Where the table lives.
    """

    init_std = 0.1  # as in LightGCN

    def __init__(
        self,
        shape: tuple[int, int],
        dim: int,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.n_users, self.n_items = shape
        values = torch.randn(sum(shape), dim, generator=generator) * self.init_std
        self.table = nn.Parameter(values.to(device))

    @property
    def width(self) -> int:
        """Size of an embedding that scores; `dim` unless layers are concatenated."""
        return self.table.shape[1]

    @abstractmethod
    def embeddings(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """Return what scores, with its graph.

        Parameters
        ----------
        generator
            Source of dropout and noise while training, on the device of the table; None: neither,
            for evaluation.
        layers
            Whether to give the layers that the embeddings are made of, lowest first.

        Returns
        -------
        EmbeddingView
            Float ``[n_users, width]`` and ``[n_items, width]``.
        """

    def auxiliary(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Tensor | None:
        """Return a loss of the backbone's own, a scalar with its weight, or None.

        Parameters
        ----------
        batch
            The pairs of the step.
        view
            What `embeddings` returned in this step.
        generator
            As in `embeddings`.
        """
        return None

    def smooth(self, table: Tensor, buffers: Sequence[Tensor]) -> Tensor:
        """The map from the layer-0 table to what scores, without a gradient.

        Only a backbone whose map is linear, constant and symmetric has it: its gradient is then
        the same map, and training needs no autograd through the tables (`training.direct`). It
        counts only in a class that also defines `embeddings`, and not in its subclasses that
        change `embeddings` or add an `auxiliary` loss.

        Parameters
        ----------
        table
            Float ``[n_users + n_items, dim]``.
        buffers
            Two tensors like it that the result may take.
        """
        raise NotImplementedError

    def l2(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Return half the squared norms of the layer-0 embeddings of a batch, divided by B.

        Layer 0 and not the propagated embeddings: those are what LightGCN regularises.

        Parameters
        ----------
        users, positives
            Indices, int64 ``[B]``.
        negatives
            Items, int64 ``[B, N]``, or ``[1, N]`` when the batch shares them.

        Returns
        -------
        Tensor
            A scalar.
        """
        rows = torch.cat([users, positives + self.n_users, negatives.flatten() + self.n_users])
        return squared_norms(self.table, rows) / (2 * len(users))

    @contextmanager
    def reading(self, table: Tensor | None) -> Iterator[None]:
        """Within, read ``table`` in the place of the layer-0 table; None changes nothing."""
        if table is None:
            yield
            return
        # found before the parameter of that name, which stays what is trained and saved
        vars(self)["table"] = table
        try:
            yield
        finally:
            del vars(self)["table"]

    def view(self, table: Tensor) -> EmbeddingView:
        """Separate the users' from the items' rows of ``[n_users + n_items, D]``."""
        return EmbeddingView.of_table(table, self.n_users)


def is_smooth(backbone: Backbone) -> bool:
    """Whether `Backbone.smooth` is all that the backbone does."""
    kind = type(backbone)
    smooth, embeddings = _owner(kind, "smooth"), _owner(kind, "embeddings")
    return smooth is embeddings and _owner(kind, "auxiliary") is Backbone


def _owner(kind: type, name: str) -> type:
    """The class that a method of ``kind`` is written in."""
    return next(one for one in kind.__mro__ if name in vars(one))
