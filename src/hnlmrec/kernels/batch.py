"""The gradient of a batch of pairs, in the rows that the pairs are made of.

The score of pair ``(b, k)`` is ``table[rows[b]] . table[columns[b, k] + shift]``. The gradient in
it, ``weights[b, k]``, is an edge between the two rows; so the gradient in the table is the product
of a sparse symmetric matrix ``W`` with the table, and each row of it is summed up once.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hnlmrec.kernels import threads
from hnlmrec.kernels.threads import array, on_cpu


class BatchGraph(Protocol):
    """``W`` of a batch."""

    @property
    def touched(self) -> Tensor:
        """The rows of the batch, each once, int64 ``[T]``."""

    def product(self, x: Tensor, out: Tensor) -> None:
        """Write ``W x`` to the touched rows of ``out``; both float ``[R, D]``, contiguous."""

    def add_own(self, total: Tensor, table: Tensor, weight: float) -> Tensor:
        """Add ``weight * table[row]`` to ``total[row]`` for each time a pair touches a row.

        Returns
        -------
        Tensor
            The sum of ``|table[row]|^2`` over the same, a scalar.
        """

    def own_product(self, table: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """`product` with the table and `add_own` to it, in the touched rows alone.

        Returns
        -------
        tuple[Tensor, Tensor]
            Float ``[T, D]``, and the sum of `add_own`.
        """


def batch_graph(
    rows: Tensor, columns: Tensor, shift: int, weights: Tensor, place: Tensor
) -> BatchGraph:
    """Make ``W``.

    Parameters
    ----------
    rows
        int64 ``[B]``.
    columns
        int64 ``[B, K]``.
    shift
        What is added to ``columns``.
    weights
        Float ``[B, K]``.
    place
        Room to work in, int32 ``[R]``, -1 everywhere before and after.
    """
    if on_cpu(weights):
        return _Compiled(rows, columns, shift, weights, place)
    return _Plain(rows, columns + shift, weights)


class _Compiled:
    """CSR, a row for each touched row."""

    def __init__(
        self, rows: Tensor, columns: Tensor, shift: int, weights: Tensor, place: Tensor
    ) -> None:
        from hnlmrec.kernels.compiled_batch import batch_graph

        n_touches, self._n_edges = len(rows) + columns.numel(), 2 * columns.numel()
        self._rows = np.empty(n_touches, dtype=np.int64)
        self._counts = np.empty(n_touches, dtype=np.int32)
        self._indptr = np.empty(n_touches + 1, dtype=np.int32)
        self._others = np.empty(self._n_edges, dtype=np.int32)
        self._values = np.empty(self._n_edges, dtype=np.float32)
        self._n = batch_graph(
            array(rows), array(columns), shift, array(weights), array(place),
            self._rows, self._counts, self._indptr, self._others, self._values,
        )  # fmt: skip

    @property
    def touched(self) -> Tensor:
        return torch.from_numpy(self._rows[: self._n])

    def _borders(self, dim: int) -> list[int]:
        """Borders of parts of the touched rows that hold about as many edges each."""
        edges = threads.even(self._n_edges, threads.threads_for(self._n_edges * dim))
        inner = np.searchsorted(self._indptr[: self._n + 1], edges[1:-1]).tolist()
        return [0, *inner, self._n]

    def product(self, x: Tensor, out: Tensor) -> None:
        from hnlmrec.kernels.compiled_batch import batch_product

        threads.run(
            batch_product, self._borders(x.shape[1]),
            self._rows, self._indptr, self._others, self._values, array(x), out.numpy(),
        )  # fmt: skip

    def own_product(self, table: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        from hnlmrec.kernels.compiled_batch import batch_own_product

        out, squares = torch.empty(self._n, table.shape[1]), torch.empty(self._n)
        threads.run(
            batch_own_product, self._borders(table.shape[1]), self._rows, self._counts,
            np.float32(weight), self._indptr, self._others, self._values, array(table),
            out.numpy(), squares.numpy(),
        )  # fmt: skip
        return out, squares.sum()

    def add_own(self, total: Tensor, table: Tensor, weight: float) -> Tensor:
        from hnlmrec.kernels.compiled_batch import add_own_rows

        squares = torch.empty(self._n)
        borders = threads.even(self._n, threads.threads_for(2 * self._n * table.shape[1]))
        threads.run(
            add_own_rows, borders, self._rows, self._counts, np.float32(weight), array(table),
            total.numpy(), squares.numpy(),
        )  # fmt: skip
        return squares.sum()


class _Plain:
    """The edges one by one, in torch's operations."""

    def __init__(self, rows: Tensor, columns: Tensor, weights: Tensor) -> None:
        every = torch.cat([rows, columns.flatten()])
        distinct: tuple[Tensor, Tensor, Tensor] = every.unique(
            return_inverse=True, return_counts=True
        )
        self._touched, places, counts = distinct
        self._counts = counts.unsqueeze(1)
        self._mine = places[: len(rows)].repeat_interleave(columns.shape[1])
        self._other = places[len(rows) :]
        self._weights = weights.flatten().unsqueeze(1)

    @property
    def touched(self) -> Tensor:
        return self._touched

    def product(self, x: Tensor, out: Tensor) -> None:
        chosen = x[self._touched]
        out[self._touched] = self._add_edges(torch.zeros_like(chosen), chosen)

    def add_own(self, total: Tensor, table: Tensor, weight: float) -> Tensor:
        chosen = table[self._touched]
        total[self._touched] += weight * self._counts * chosen
        return self._squares(chosen)

    def own_product(self, table: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        chosen = table[self._touched]
        total = self._add_edges(weight * self._counts * chosen, chosen)
        return total, self._squares(chosen)

    def _add_edges(self, total: Tensor, chosen: Tensor) -> Tensor:
        total.index_add_(0, self._mine, self._weights * chosen[self._other])
        total.index_add_(0, self._other, self._weights * chosen[self._mine])
        return total

    def _squares(self, chosen: Tensor) -> Tensor:
        squares: Tensor = (self._counts * chosen.square()).sum()
        return squares
