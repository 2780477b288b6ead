"""The user-item graph of the training interactions."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from hnlmrec.kernels import Adjacency


def normalised_adjacency(train: sp.csr_array, device: torch.device | str = "cpu") -> Adjacency:
    """Build the graph as ``D^-1/2 A D^-1/2``.

    Nodes are the users, then the items; a node without an edge has an empty row.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]``.
    device
        Where the result lives.

    Returns
    -------
    Adjacency
        Symmetric, ``[n_users + n_items, n_users + n_items]``.
    """
    graph = sp.block_array([[None, train], [train.T, None]], format="csr", dtype=np.float32)
    graph.sort_indices()
    degree = np.diff(graph.indptr)
    scale = np.zeros(len(degree), dtype=np.float32)
    scale[degree > 0] = degree[degree > 0] ** -0.5
    values = np.repeat(scale, degree) * scale[graph.indices]
    return Adjacency(
        torch.from_numpy(graph.indptr.astype(np.int32)).to(device),
        torch.from_numpy(graph.indices.astype(np.int32)).to(device),
        torch.from_numpy(values).to(device),
    )
