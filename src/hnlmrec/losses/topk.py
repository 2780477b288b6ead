"""SL@K: a softmax loss aimed at the first K places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hnlmrec.losses.softmax import softmax_rows

_FIRST = 8


@dataclass(frozen=True)
class SlAtK:
    """SL weighted by whether the positive is in the top K: the mean of ``w SL``.

    ``w = sigmoid((s+ - b) / tw)``, and ``b`` is the score of the user's K-th best item. Yang et
    al., "Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in Recommender
    Systems", KDD 2025. As in the released code, the gradient also goes through ``s+`` in ``w``
    and not through ``b``; defaults are those of its example.

    The released code keeps ``b`` of each user and renews it every few epochs. The estimate here
    is our own and has no memory: `threshold` of the pair's own negatives.

    A batch costs O(B N), and O(B N log N) where K is a large share of the catalogue.

    Parameters
    ----------
    temperature
        Of the softmax.
    k
        Length of the recommended list.
    quantile_temperature
        ``tw``.
    n_items
        Items in the catalogue.
    """

    temperature: float
    k: int
    quantile_temperature: float
    n_items: int

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """See `RankingLoss`."""
        above = positive - self.threshold(negative, weights)
        relevance = torch.sigmoid(above / self.quantile_temperature)
        return (relevance * softmax_rows(positive, negative, weights, self.temperature)).mean()

    @torch.no_grad()
    def threshold(self, negative: Tensor, weights: Tensor | None) -> Tensor:
        """Estimate the score of the K-th best item by Monte Carlo.

        Of N uniform negatives it is the ``K N / n_items``-th largest, rounded up, so at least the
        largest; of weighted ones, the largest score that leaves a share ``K / n_items`` of the
        weight at or above it. Negatives that are chosen for being hard put it too high.

        Parameters
        ----------
        negative, weights
            As in `RankingLoss`.

        Returns
        -------
        Tensor
            Float ``[B]``, without a gradient.
        """
        n = negative.shape[1]
        if weights is None:
            weights = torch.ones_like(negative)
        needed = weights.sum(dim=1, keepdim=True) * min(self.k, self.n_items) / self.n_items
        found, reached = _reach(negative, weights, needed, min(_FIRST, n))
        # long lists of small catalogues, and rows whose best do not count
        rest = (~reached).nonzero()[:, 0]
        if len(rest) > 0:
            found[rest] = _reach(negative[rest], weights[rest], needed[rest], n)[0]
        return found


def _reach(
    scores: Tensor, weights: Tensor, needed: Tensor, looked_at: int
) -> tuple[Tensor, Tensor]:
    """The score of each row down to which the best have the weight needed.

    Returns
    -------
    tuple[Tensor, Tensor]
        Float ``[B]``, and whether the best ``looked_at`` were enough, bool ``[B]``.
    """
    best, order = scores.topk(looked_at, dim=1)
    reached = weights.gather(1, order).cumsum(dim=1)
    rank = (reached < needed).sum(dim=1, keepdim=True)
    found = best.gather(1, rank.clamp_max(looked_at - 1)).squeeze(1)
    return found, rank[:, 0] < looked_at
