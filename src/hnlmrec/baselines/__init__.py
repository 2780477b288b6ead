"""LLM-enhanced baselines: each goes with any sampler, loss and backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hnlmrec.baselines.kar import Kar
from hnlmrec.baselines.llmrec import Llmrec
from hnlmrec.baselines.picks import Picks
from hnlmrec.baselines.protocol import Baseline, BaselineSetting
from hnlmrec.baselines.rlmrec_con import RlmrecCon
from hnlmrec.baselines.rlmrec_gen import RlmrecGen
from hnlmrec.config.baselines import BaselineConfig

__all__ = [
    "BASELINES",
    "Baseline",
    "BaselineSetting",
    "Kar",
    "Llmrec",
    "Picks",
    "RlmrecCon",
    "RlmrecGen",
    "build_baseline",
]

# Each is given its own section of the configuration, hence Any.
BASELINES: dict[str, Callable[[Any, BaselineSetting], Baseline]] = {
    "rlmrec_con": RlmrecCon,
    "rlmrec_gen": RlmrecGen,
    "kar": Kar,
    "llmrec": Llmrec,
}


def build_baseline(config: BaselineConfig, setting: BaselineSetting) -> Baseline:
    """Build the baseline that ``config`` describes, with initial parameters."""
    return BASELINES[config.name](config, setting)
