"""One pool of negatives for the whole batch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from hnlmrec.negatives.in_batch import shared_negatives
from hnlmrec.negatives.popularity import ItemWeights
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.uninteracted import Uninteracted


class Shared:
    """``size`` items of the catalogue, drawn in each step in proportion to ``counts ** beta``.

    A training item of a pair's user has weight 0 for the pair; a pair may so have no negative at
    all. With ``beta`` above 0 the items are weighed by the inverse of what they were drawn by,
    with a mean of 1 over the pool, so that a softmax over it stays an estimate of the one over
    all items (logQ correction; Yi et al., RecSys 2019). Scores of a shared pool are one product
    of matrices, so it may be far larger than the number of negatives drawn for each pair.
    Cost per batch: ``size`` draws, B x ``size`` weights, and one search for each training item of
    its users.

    Parameters
    ----------
    pool
        The un-interacted items.
    size
        Items in the pool.
    counts
        Training interactions of each item, int64 ``[n_items]``.
    beta
        Power of the popularity; 0 is uniform.
    """

    by_row = True

    def __init__(
        self, pool: Uninteracted, size: int, counts: npt.NDArray[np.int64], beta: float
    ) -> None:
        self.pool, self.size, self.beta = pool, size, beta
        self.table = ItemWeights(counts, beta, pool.device)

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Draw a pool."""
        items = self.table.draw(self.size, generator)
        table = self.table if self.beta > 0 else None
        return shared_negatives(items, batch.users, self.pool, table, view)
