"""Losses: how scores of positives and negatives become a number to minimise.

A ranking loss sees scores only, ``[B]`` of positives and ``[B, N]`` of negatives, and weights of
the negatives; whether scores are inner products or cosines, the caller decides from the
``similarity`` of the loss's configuration. A synthesised hard negative enters through the same
arguments, in one of three ways: as one of the negatives; mixed into each negative, whose score
is then that of the mixture; or as one more column with a weight of its own, which in the softmax
losses is an extra term of the denominator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hnlmrec.config.losses import LossConfig, LossPlugin
from hnlmrec.losses.contrast import contrastive, info_nce
from hnlmrec.losses.pairwise import Bpr, Hinge
from hnlmrec.losses.pointwise import Bce, Ccl
from hnlmrec.losses.protocol import RankingLoss
from hnlmrec.losses.softmax import Bsl, Psl, Sl
from hnlmrec.losses.topk import SlAtK
from hnlmrec.plugins import build_plugin

__all__ = ["LOSSES", "RankingLoss", "build_loss", "contrastive", "info_nce"]

# Each builder is given its own section of the configuration, hence Any, and the number of items.
LOSSES: dict[str, Callable[[Any, int], RankingLoss]] = {
    "bpr": lambda config, n_items: Bpr(),
    "hinge": lambda config, n_items: Hinge(config.margin),
    "bce": lambda config, n_items: Bce(),
    "ccl": lambda config, n_items: Ccl(config.margin, config.negative_weight),
    "sl": lambda config, n_items: Sl(config.temperature),
    "bsl": lambda config, n_items: Bsl(config.temperature, config.positive_temperature),
    "psl": lambda config, n_items: Psl(config.activation, config.temperature, config.scale),
    "sl_at_k": lambda config, n_items: SlAtK(
        config.temperature, config.k, config.quantile_temperature, n_items
    ),
}


def build_loss(config: LossConfig, n_items: int) -> RankingLoss:
    """Build the ranking loss that ``config`` describes, for a catalogue of ``n_items``."""
    if isinstance(config, LossPlugin):
        loss: RankingLoss = build_plugin(config.group, config.name, (), config.options)
        return loss
    return LOSSES[config.name](config, n_items)
