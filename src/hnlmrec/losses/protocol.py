"""What a ranking loss is given, and what it returns."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class RankingLoss(Protocol):
    """Raises positives above negatives; it sees scores and never normalises them."""

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        positive
            Scores of the positives, float ``[B]``.
        negative
            Scores of each pair's negatives, float ``[B, N]``, N at least 1.
        weights
            How much each negative counts, float ``[B, N]``, at least 0; one of weight 0 is not
            there, and a pair without negatives adds nothing. None: all count 1.

        Returns
        -------
        Tensor
            A scalar, the mean over all B pairs.
        """
        ...
