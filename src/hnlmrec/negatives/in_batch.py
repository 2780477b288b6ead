"""In-batch negatives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hnlmrec.negatives.popularity import ItemWeights
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.uninteracted import Uninteracted


class InBatch:
    """The positives of the other pairs of the batch: one pool of B items for all.

    A training item of a pair's user, its own positive among them, has weight 0 for the pair; a
    pair may so have no negative at all. Items come into the pool in proportion to their
    popularity; weights in inverse proportion, with a mean of 1 over the pool, make a softmax
    over it an estimate of the one over all items (logQ correction: Bengio and Senecal, "Adaptive
    Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model", TNN
    2008; Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item
    Recommendations", RecSys 2019).
    Cost per batch: no draw; B x B weights, and one search for each training item of its users.

    Parameters
    ----------
    pool
        The un-interacted items.
    counts
        Training interactions of each item, int64 ``[n_items]``.
    correct
        Whether to weigh by inverse popularity.
    """

    by_row = True

    def __init__(self, pool: Uninteracted, counts: npt.NDArray[np.int64], correct: bool) -> None:
        self.pool, self.correct = pool, correct
        self.table = ItemWeights(counts, 1.0, pool.device)

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Give the batch's positives as a pool; ``generator`` is not used."""
        table = self.table if self.correct else None
        return shared_negatives(batch.every.positives, batch.users, self.pool, table, view)


def shared_negatives(
    items: Tensor,
    users: Tensor,
    pool: Uninteracted,
    table: ItemWeights | None,
    view: EmbeddingView,
) -> Negatives:
    """A pool of items for all of a batch, without the training items of each pair's user.

    Parameters
    ----------
    items
        The pool, int64 ``[P]``; items may repeat.
    users
        int64 ``[B]``.
    pool
        The un-interacted items.
    table
        What the items were drawn by, to be corrected for; None: no correction.
    view
        Its type of numbers is that of the weights.
    """
    dtype = view.items.dtype
    if table is None:
        column = torch.ones(len(items), dtype=dtype, device=items.device)
    else:
        column = table.correction(items, dtype)
    interacted = pool.interacted_in(users, items)
    return Negatives(items.unsqueeze(0), weights=column.masked_fill(interacted, 0.0))
