"""Negative samplers: each chooses what a batch of training pairs is trained against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hnlmrec.config import BaseSamplerConfig
from hnlmrec.negatives.dns import Dns
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, NegativeSampler, PairBatch, lookup
from hnlmrec.negatives.uniform import Uniform
from hnlmrec.negatives.uninteracted import Uninteracted

__all__ = [
    "BASE_SAMPLERS",
    "Dns",
    "EmbeddingView",
    "NegativeSampler",
    "Negatives",
    "PairBatch",
    "Uniform",
    "Uninteracted",
    "build_base",
    "lookup",
]

# Each builder is given its own section of the configuration, hence Any.
BASE_SAMPLERS: dict[str, Callable[[Any, Uninteracted, int], NegativeSampler]] = {
    "uniform": lambda config, pool, n: Uniform(pool, n),
    "dns": lambda config, pool, n: Dns(pool, n, config.candidates, config.top),
}


def build_base(config: BaseSamplerConfig, pool: Uninteracted, n: int) -> NegativeSampler:
    """Build the ID-based sampler that ``config`` describes, with ``n`` negatives a pair."""
    return BASE_SAMPLERS[config.name](config, pool, n)
