"""Negative samplers: each chooses what a batch of training pairs is trained against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hnlmrec.config.samplers import BaseSamplerConfig, MeaningConfig, SamplerPlugin
from hnlmrec.errors import ConfigError
from hnlmrec.negatives.ahns import Ahns
from hnlmrec.negatives.dens import Dens
from hnlmrec.negatives.dns import Dns
from hnlmrec.negatives.guard import Guard
from hnlmrec.negatives.in_batch import InBatch
from hnlmrec.negatives.meaning import Meaning, history_vectors
from hnlmrec.negatives.mixgcf import MixGcf
from hnlmrec.negatives.popularity import Popularity
from hnlmrec.negatives.protocol import (
    EmbeddingView,
    Negatives,
    NegativeSampler,
    PairBatch,
    SamplerSetting,
    lookup,
)
from hnlmrec.negatives.shared import Shared
from hnlmrec.negatives.srns import Srns
from hnlmrec.negatives.uniform import Uniform
from hnlmrec.negatives.uninteracted import Uninteracted
from hnlmrec.negatives.warmup import Warmup
from hnlmrec.plugins import build_plugin

__all__ = [
    "SAMPLERS",
    "Ahns",
    "Dens",
    "Dns",
    "EmbeddingView",
    "Guard",
    "InBatch",
    "Meaning",
    "MixGcf",
    "NegativeSampler",
    "Negatives",
    "PairBatch",
    "Popularity",
    "SamplerSetting",
    "Shared",
    "Srns",
    "Uniform",
    "Uninteracted",
    "Warmup",
    "build_sampler",
    "lookup",
]

# Each builder is given its own section of the configuration, hence Any.
SAMPLERS: dict[str, Callable[[Any, SamplerSetting], NegativeSampler]] = {
    "uniform": lambda config, setting: Uniform(setting.pool, setting.n),
    "popularity": lambda config, setting: Popularity(
        setting.pool, setting.n, setting.counts, config.beta
    ),
    "dns": lambda config, setting: Dns(setting.pool, setting.n, config.candidates, config.top),
    "srns": lambda config, setting: Srns(
        setting.pool,
        setting.n,
        config.memory,
        config.extra,
        config.temperature,
        config.variance,
        config.history,
        config.variance_warmup,
    ),
    "mixgcf": lambda config, setting: MixGcf(setting.pool, setting.n, config.candidates),
    "dens": lambda config, setting: Dens(
        setting.pool,
        setting.n,
        setting.width,
        config.candidates,
        config.gate_warmup,
        config.weight,
        setting.generator,
        setting.device,
    ),
    "ahns": lambda config, setting: Ahns(
        setting.pool, setting.n, config.candidates, config.alpha, config.beta, config.power
    ),
    "in_batch": lambda config, setting: InBatch(setting.pool, setting.counts, config.correct),
    "shared": lambda config, setting: Shared(
        setting.pool, config.size, setting.counts, config.beta
    ),
}


def build_sampler(config: BaseSamplerConfig, setting: SamplerSetting) -> NegativeSampler:
    """Build the ID-based sampler that ``config`` describes, with guard, filter and warm-up."""
    if isinstance(config, SamplerPlugin):
        sampler: NegativeSampler = build_plugin(
            config.group, config.name, (setting,), config.options
        )
    else:
        sampler = SAMPLERS[config.name](config, setting)
    if config.guard is not None:
        sampler = Guard(sampler, setting.pool, config.guard)
    if config.meaning is not None:
        texts = _texts(config.meaning, setting)
        sampler = Meaning(sampler, setting.pool, texts, config.meaning)
    warmup = getattr(config, "warmup", 0)  # pools and uniform negatives have none
    return Warmup(sampler, setting.pool, warmup) if warmup else sampler


def _texts(config: MeaningConfig, setting: SamplerSetting) -> EmbeddingView:
    """The text vectors of users and of items that a filter compares."""
    items, users = setting.item_vectors, setting.user_vectors
    if items is None or (config.user == "profile" and users is None):
        raise ConfigError(
            "this filter compares text vectors, and none are given",
            where="sampler.meaning",
            mend="run `hnlmrec encode` first",
        )
    if users is None or config.user == "history":
        users = history_vectors(items, setting.pool)
    return EmbeddingView(users, items)
