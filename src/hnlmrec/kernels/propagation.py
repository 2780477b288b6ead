"""Products of the user-item graph with a table of embeddings."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from hnlmrec.kernels import threads
from hnlmrec.kernels.threads import array, on_cpu


class Adjacency:
    """A symmetric sparse matrix ``A``, a constant of training.

    Parameters
    ----------
    indptr, indices
        CSR structure with sorted indices, int32 ``[n + 1]`` and ``[nnz]``.
    values
        Float32 ``[nnz]``.
    """

    def __init__(self, indptr: Tensor, indices: Tensor, values: Tensor) -> None:
        self.indptr, self.indices, self.values = indptr, indices, values
        if not on_cpu(values):
            n = len(indptr) - 1
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                self._matrix = torch.sparse_csr_tensor(indptr, indices, values, (n, n))

    def with_values(self, values: Tensor) -> Adjacency:
        """The same structure with other values; they must be symmetric too."""
        return Adjacency(self.indptr, self.indices, values)

    def to_dense(self) -> Tensor:
        """Return the matrix as a dense tensor: for tests and small examples."""
        n = len(self.indptr) - 1
        rows = torch.repeat_interleave(torch.arange(n, device=self.indptr.device), self.degrees)
        dense = torch.zeros(n, n, device=self.values.device)
        dense[rows, self.indices.long()] = self.values
        return dense

    @property
    def degrees(self) -> Tensor:
        """Edges of each node, int32 ``[n]``."""
        return self.indptr.diff()

    def _borders(self, parts: int) -> list[int]:
        """Borders of parts of the rows that hold about as many edges each."""
        edges = threads.even(len(self.indices), parts)
        inner = np.searchsorted(self.indptr.numpy(), edges[1:-1]).tolist()
        return [0, *inner, len(self.indptr) - 1]

    def product(self, x: Tensor) -> Tensor:
        """Compute ``A x``, differentiable in ``x``, float ``[n, D]``."""
        result: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return result

    def mean_of_layers(self, x: Tensor, layers: int) -> Tensor:
        """Compute ``(x + A x + ... + A^L x) / (L + 1)``, differentiable in ``x``.

        Nothing is saved for the backward pass, whatever the number of layers.
        """
        mean: Tensor = _MeanOfLayers.apply(x, self, layers)  # type: ignore[no-untyped-call]
        return mean

    def plain_mean_of_layers(self, x: Tensor, layers: int, buffers: Sequence[Tensor]) -> Tensor:
        """`mean_of_layers` without a gradient.

        Parameters
        ----------
        x, layers
            As there.
        buffers
            Two contiguous tensors like ``x``, for the result and on the way to it; none: they are
            made.
        """
        total = x
        for layer in range(layers):
            last = layer == layers - 1
            # the one of two that does not hold the last product
            out = buffers[layer % 2] if buffers else None
            total = self.add_product(total, x, 1 / (layers + 1) if last else 1.0, out)
        return total

    def add_product(
        self,
        x: Tensor,
        plus: Tensor | None,
        scale: float = 1.0,
        out: Tensor | None = None,
    ) -> Tensor:
        """Compute ``scale * (plus + A x)`` without a gradient; on a CPU into ``out`` if given."""
        if not on_cpu(x):
            if plus is None:
                return (self._matrix @ x) * scale
            return torch.addmm(plus, self._matrix, x, beta=scale, alpha=scale)
        from hnlmrec.kernels.compiled import propagate

        if out is None:
            out = torch.empty_like(x, memory_format=torch.contiguous_format)
        added = torch.zeros_like(x) if plus is None else plus
        borders = self._borders(threads.threads_for(len(self.indices) * x.shape[1]))
        threads.run(
            propagate, borders,
            array(self.indptr), array(self.indices), array(self.values), array(x), array(added),
            np.float32(scale), out.numpy(),
        )  # fmt: skip
        return out


class _Product(Function):
    """``A`` is symmetric, so the gradient is the same product with the incoming gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, adjacency: Adjacency) -> Tensor:
        ctx.adjacency = adjacency
        return adjacency.add_product(x, None)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.adjacency.add_product(gradient, None), None


class _MeanOfLayers(Function):
    """A polynomial of a symmetric matrix, by Horner's scheme: its gradient is the same one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, adjacency: Adjacency, layers: int) -> Tensor:
        ctx.adjacency, ctx.layers = adjacency, layers
        # without a layer the table itself is the mean; a Function must not return its argument
        return adjacency.plain_mean_of_layers(x, layers, ()) if layers else x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.adjacency.plain_mean_of_layers(gradient, ctx.layers, ()), None, None
