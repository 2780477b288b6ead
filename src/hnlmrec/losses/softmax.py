"""Softmax losses: the positive competes with all negatives of its pair at once.

Of a pair, the logarithm of a weighted sum over its negatives counts. A batch costs O(B N).

As equations, SL, PSL and SL@K sum over all items, so the positive is one of the terms, with the
value 1; so it is here. The code released with PSL and SL@K sums over sampled negatives only. That
differs once the positive is far ahead: here the pair then ceases to matter, there it goes on
pulling. `Bsl` keeps the released form, and with equal temperatures it is SL in that form.

The equations of PSL, BSL and SL@K were checked against the released code and its notes, not
against the text of the papers; that of SL against neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from hnlmrec.losses.weighing import drop_empty, log_weighted_sum


def softmax_rows(
    positive: Tensor, negative: Tensor, weights: Tensor | None, temperature: float
) -> Tensor:
    """``log(1 + sum_j w_j exp((s_j - s+) / temperature))`` of each pair, float ``[B]``."""
    return log_weighted_sum((negative - positive[:, None]) / temperature, weights, plus_one=True)


@dataclass(frozen=True)
class Sl:
    """Sampled softmax: ``-s+ / t + log(exp(s+ / t) + sum_j w_j exp(s_j / t))``.

    Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation", TOIS 2024.
    The default of 0.2, for cosines, is that of the example released with PSL and SL@K.

    Parameters
    ----------
    temperature
        ``t``.
    """

    temperature: float

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """See `RankingLoss`."""
        return softmax_rows(positive, negative, weights, self.temperature).mean()


@dataclass(frozen=True)
class Bsl:
    """Bilateral softmax: ``-s+ / t+ + log sum_j w_j exp(s_j / t)``.

    Wu et al., "BSL: Understanding and Improving Softmax Loss for Recommendation", ICDE 2024,
    checked against its released code, not its text. With one positive a pair that code minimises
    ``-s+ / t1 + t2 log sum_j exp(s_j / t1)`` (its mode ``reweight``); this is the same divided by
    ``t2``, with ``t = t1`` and ``t+ = t1 t2``. Defaults are its 0.15 and 1.12 for LightGCN on
    Yelp2018. The form ``-s+ / t+ + (t / t+) log sum_j exp(s_j / t)`` that others use is not
    taken: with one positive it only scales SL.

    The positive is pulled with the same force however well it scores, which suits scores that
    are bounded, such as cosines.

    Parameters
    ----------
    temperature
        ``t``.
    positive_temperature
        ``t+``.
    """

    temperature: float
    positive_temperature: float

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """See `RankingLoss`."""
        rows = log_weighted_sum(negative / self.temperature, weights, plus_one=False)
        rows = rows - positive / self.positive_temperature
        return drop_empty(rows, weights).mean()


@dataclass(frozen=True)
class Psl:
    """Pairwise softmax: ``log(1 + sum_j w_j a(d_j) ** (1 / t))``, ``d_j = (s_j - s+) / scale``.

    Yang et al., "PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective for
    Recommendation", NeurIPS 2024. The activation ``a`` is ``1 + tanh``, ``1 + atan`` or
    ``max(0, 1 + d)`` and takes the place of SL's exponential function, of which it is a lower
    bound: with ``exp``, this is SL of temperature ``scale * t``. The released code halves
    cosines, so that ``d`` is in [-1, 1], and tunes ``t`` from 0.005 to 0.25; the default of 0.1
    corresponds to SL's 0.2. ``1 + atan(d)`` is below 0 for d < -1.56, outside that range; such a
    negative costs nothing here.

    Parameters
    ----------
    activation
        ``tanh``, ``atan`` or ``relu``.
    temperature
        ``t``.
    scale
        Divides the differences of scores.
    """

    activation: str
    temperature: float
    scale: float

    def __call__(self, positive: Tensor, negative: Tensor, weights: Tensor | None) -> Tensor:
        """See `RankingLoss`."""
        difference = (negative - positive[:, None]) / self.scale
        logits = LOG_ACTIVATIONS[self.activation](difference) / self.temperature
        return log_weighted_sum(logits, weights, plus_one=True).mean()


LOG_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # 1 + tanh(d) is 2 sigmoid(2 d)
    "tanh": lambda d: math.log(2) + functional.logsigmoid(2 * d),
    "atan": lambda d: functional.relu(1 + d.atan()).log(),
    "relu": lambda d: functional.relu(1 + d).log(),
}
