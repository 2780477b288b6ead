"""Negatives drawn by popularity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.uninteracted import Uninteracted

# The share of an item is kept to 1 part in 2**42 of the whole; a draw modulo the whole favours
# low values by at most 2**42 / 2**62.
_FINEST = 2**42
_LARGEST_DRAW = 2**62


class ItemWeights:
    """Integer weights of items, proportional to ``counts ** beta`` and at least 1.

    Integers make sums exact, so that a draw is a place in a cumulative sum. An item that is not
    in training has weight 1, next to nothing, unless ``beta`` is 0.

    Parameters
    ----------
    counts
        Training interactions of each item, int64 ``[n_items]``.
    beta
        The power; 0 makes all weights equal.
    device
        Where items are drawn.
    """

    def __init__(
        self,
        counts: npt.NDArray[np.int64],
        beta: float,
        device: torch.device | str = "cpu",
    ) -> None:
        powers = counts.astype(np.float64) ** beta
        shares = powers / max(powers.sum(), 1.0)
        weights = np.maximum(np.rint(shares * _FINEST), 1).astype(np.int64)
        self.weights = torch.from_numpy(weights).to(device)
        self.cumulative = self.weights.cumsum(0)
        self.total = int(weights.sum())

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` items of the whole catalogue, with replacement: int64 ``[n]``."""
        device = self.weights.device
        points = torch.randint(_LARGEST_DRAW, (n,), generator=generator, device=device)
        return self.at(points % self.total)

    def at(self, points: Tensor) -> Tensor:
        """The items at points below ``total`` of the cumulative sum: int64 of the same shape."""
        return torch.searchsorted(self.cumulative, points, right=True)

    def correction(self, items: Tensor, dtype: torch.dtype) -> Tensor:
        """Inverse weights of items, float of their shape, with a mean of 1.

        Weighted so, a sum of exponentials over items drawn by these weights estimates, up to a
        factor, the one over all items: the logQ correction.
        """
        # whole weights are beyond the range of half precision
        inverse = self.weights[items].double().reciprocal()
        return (inverse / inverse.mean()).to(dtype)


class Popularity:
    """Un-interacted items in proportion to their popularity: ``p(j | u) ~ counts_j ** beta``.

    Popular items are likely known to a user who passed them by. The power 0.75 is word2vec's
    (Mikolov et al., "Distributed Representations of Words and Phrases and their
    Compositionality", NeurIPS 2013).

    No draw is rejected. Write ``C`` for the cumulative weights of all items and ``F_j`` for the
    weight of a user's un-interacted items before the ``j``-th interacted one, ``s_j``. A draw
    ``r`` below the user's free weight has passed the ``s_j`` with ``F_j <= r``; their weights are
    added to it, and the sum is looked up in ``C``.
    Cost per batch: B N draws of two binary searches; 8 bytes an interaction are kept.

    Parameters
    ----------
    pool
        The un-interacted items.
    n
        Negatives a pair.
    counts
        Training interactions of each item, int64 ``[n_items]``.
    beta
        The power.
    """

    by_row = True

    def __init__(
        self, pool: Uninteracted, n: int, counts: npt.NDArray[np.int64], beta: float
    ) -> None:
        self.pool, self.n = pool, n
        self.table = ItemWeights(counts, beta, pool.device)
        weights = self.table.weights[pool.items]
        # all users' sums in one: this may pass 64 bits and wrap, and differences stay right
        passed = torch.cat([weights.new_zeros(1), weights.cumsum(0)])
        starts, stops = passed[pool.indptr[:-1]], passed[pool.indptr[1:]]
        self._free = self.table.total - (stops - starts)
        within = passed[1:] - starts[pool.users]
        # F_j of each interaction
        self._before = self.table.cumulative[pool.items] - within
        longest = int(pool.indptr.diff().max()) if pool.n_users else 0
        self._steps = longest.bit_length()
        self._last = len(self._before) - 1

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Draw ``n`` negatives of each pair."""
        users = batch.users.unsqueeze(1)
        shape = (len(batch.every.users), self.n)
        draws = torch.randint(_LARGEST_DRAW, shape, generator=generator, device=users.device)
        draws = batch.own(draws) % self._free[users]
        return Negatives(self.table.at(draws + self._weight_passed(users, draws)))

    def _weight_passed(self, users: Tensor, draws: Tensor) -> Tensor:
        """Weight of the interacted items that lie before each draw, int64 ``[B, N]``."""
        if self._steps == 0:
            return torch.zeros_like(draws)
        start = self.pool.indptr[users]
        below, above = start.expand_as(draws), self.pool.indptr[users + 1].expand_as(draws)
        # a binary search in the user's own F: over all users' it would miss the cache throughout
        for _ in range(self._steps):
            middle = (below + above) >> 1
            passed = (below < above) & (self._before[middle.clamp_max(self._last)] <= draws)
            below, above = (
                torch.where(passed, middle + 1, below),
                torch.where(passed, above, middle),
            )
        last = (below - 1).clamp_min(0)
        # C up to and with s_last is F_last and the interacted weight up to and with s_last
        weight = self.table.cumulative[self.pool.items[last]] - self._before[last]
        return torch.where(below > start, weight, 0)
