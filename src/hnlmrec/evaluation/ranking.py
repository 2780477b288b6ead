"""Full ranking: the best items of each user out of the whole catalogue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.distributed import World
from hnlmrec.distributed.columns import whole_rows
from hnlmrec.kernels import top_columns
from hnlmrec.negatives.protocol import EmbeddingView

IntArray = npt.NDArray[np.int32]
NOTHING = -1  # fills a ranking when a user has fewer than k items to rank


def rank(
    view: EmbeddingView,
    users: npt.NDArray[np.integer],
    exclude: Sequence[sp.csr_array],
    k: int,
    chunk_users: int = 1024,
) -> IntArray:
    """Rank all items for each user by the inner product.

    Parameters
    ----------
    view
        Embeddings that score.
    users
        Indices, ``[n]``.
    exclude
        CSR matrices ``[n_users, n_items]`` of pairs that are not ranked.
    k
        Length of a ranking.
    chunk_users
        Users scored together; memory is ``chunk_users * n_items`` scores.

    Returns
    -------
    ndarray
        Items, best first, int32 ``[n, k]``. Of equal scores the lower index comes first, so that
        a ranking depends on the scores alone. Filled up with -1; a score of NaN is not ranked.
    """
    queries = view.users.detach()[users.astype(np.int64)]
    return top_items(queries, view.items, users, exclude, k, chunk_users)


@torch.no_grad()
def rank_together(
    view: EmbeddingView,
    users: npt.NDArray[np.integer],
    exclude: Sequence[sp.csr_array],
    k: int,
    chunk_users: int,
    world: World,
) -> IntArray:
    """`rank` by several processes that share the users out and are all given the rankings.

    They share out whole chunks: a product of matrices may differ in its last bits with their
    size, and so do not depend on the number of processes.
    """
    if world.size == 1:
        return rank(view, users, exclude, k, chunk_users)
    each = [
        _chunks_of(World(one, world.size), len(users), chunk_users) for one in range(world.size)
    ]
    own = users[each[world.rank]]
    queries, items = view.users.detach()[own.astype(np.int64)], view.items.detach()
    if view.summed_over.size > 1:
        queries, items = _all_columns(view, [users[part] for part in each])
    found = top_items(queries, items, own, exclude, k, chunk_users)
    return world.rows(torch.from_numpy(found)).numpy()


def _chunks_of(world: World, n: int, chunk: int) -> slice:
    """The chunks of ``n`` users that a process ranks."""
    share = world.share(-(-n // chunk))
    return slice(share.start * chunk, min(share.stop * chunk, n))


def _all_columns(
    view: EmbeddingView, shares: Sequence[npt.NDArray[np.integer]]
) -> tuple[Tensor, Tensor]:
    """All columns of this process's share of the users, and of all items."""
    world = view.summed_over
    dim = int(world.sum(torch.tensor(view.items.shape[1])))
    each = [
        whole_rows(view.users.detach()[users.astype(np.int64)], dim, world, to=rank)
        for rank, users in enumerate(shares)
    ]
    return each[world.rank], whole_rows(view.items.detach(), dim, world)


@torch.inference_mode()
def top_items(
    queries: Tensor,
    items: Tensor,
    users: npt.NDArray[np.integer],
    exclude: Sequence[sp.csr_array],
    k: int,
    chunk: int = 1024,
) -> IntArray:
    """Find the items with the largest inner product with each query.

    Parameters
    ----------
    queries
        Float ``[n, D]``.
    items
        Float ``[n_items, D]``.
    users
        Whose items are excluded from each query's result, ``[n]``.
    exclude, k, chunk
        As in `rank`.

    Returns
    -------
    ndarray
        As in `rank`, int32 ``[n, k]``.
    """
    ranking = np.full((len(users), k), NOTHING, dtype=np.int32)
    room = items.new_empty(min(chunk, len(queries)), len(items))
    for start in range(0, len(users), chunk):
        part = slice(start, start + chunk)
        asked = queries[part]
        scores = torch.mm(asked, items.T, out=room[: len(asked)])
        for matrix in exclude:
            rows = matrix[users[part]]
            row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
            flat = torch.from_numpy(row * len(items) + rows.indices).to(scores.device)
            scores.view(-1)[flat] = -torch.inf
        found = top_columns(scores, min(k, len(items))).cpu().numpy()
        ranking[part, : found.shape[1]] = found
    return ranking
