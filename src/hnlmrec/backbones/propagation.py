"""Propagation of embeddings over the user-item graph."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.autograd import Function


def normalised_adjacency(train: sp.csr_array, device: torch.device | str = "cpu") -> Tensor:
    """Build the graph of the training interactions as ``D^-1/2 A D^-1/2``.

    Nodes are the users, then the items; a node without an edge has an empty row.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]``.
    device
        Where the result lives.

    Returns
    -------
    Tensor
        Symmetric float32 torch CSR ``[n_users + n_items, n_users + n_items]``. (CSR times dense is
        several times as fast as torch's COO.)
    """
    graph = sp.block_array([[None, train], [train.T, None]], format="csr", dtype=np.float32)
    graph.sort_indices()
    degree = np.diff(graph.indptr)
    scale = np.zeros(len(degree), dtype=np.float32)
    scale[degree > 0] = degree[degree > 0] ** -0.5
    rows = np.repeat(np.arange(len(degree)), degree)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        matrix = torch.sparse_csr_tensor(
            torch.from_numpy(graph.indptr.astype(np.int32)),
            torch.from_numpy(graph.indices.astype(np.int32)),
            torch.from_numpy(scale[rows] * scale[graph.indices]),
            size=graph.shape,
            check_invariants=True,
        )
        return matrix.to(device)


def mean_of_layers(x: Tensor, adjacency: Tensor, layers: int) -> Tensor:
    """Compute ``(x + A x + ... + A^L x) / (L + 1)``, differentiable in ``x``.

    Parameters
    ----------
    x
        Layer 0, float ``[n_nodes, D]``.
    adjacency
        Symmetric CSR ``A``, ``[n_nodes, n_nodes]``; a constant.
    layers
        ``L``.
    """
    mean: Tensor = _MeanOfLayers.apply(x, adjacency, layers)  # type: ignore[no-untyped-call]
    return mean


class _MeanOfLayers(Function):
    """``A`` is symmetric, so the gradient is the same function of the incoming gradient.

    Nothing is saved for the backward pass, whatever the number of layers.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, adjacency: Tensor, layers: int) -> Tensor:
        ctx.adjacency, ctx.layers = adjacency, layers
        return _horner(x, adjacency, layers)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _horner(gradient, ctx.adjacency, ctx.layers), None, None


def _horner(x: Tensor, adjacency: Tensor, layers: int) -> Tensor:
    """Evaluate the mean by Horner's scheme: each step is ``x`` plus ``A`` times the last."""
    total = x
    for _ in range(layers):
        total = torch.addmm(x, adjacency, total)
    return total / (layers + 1)
