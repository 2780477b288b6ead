"""A ranking loss."""

from torch import Tensor

from hnlmrec.losses.weighing import weighted_mean


class SquaredHinge:
    """The squared distance that each negative lacks to be a margin below the positive."""

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = margin

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """Scores ``[B]``, ``[B, N]`` and weights ``[B, N]`` or None, to a scalar."""
        lacking = (self.margin - positive[:, None] + negative).relu()
        return weighted_mean(lacking**2, weights).mean()
