"""Recommenders trained with hard negatives synthesised by a large language model.

The public names load what they need when they are first used, so that ``import hnlmrec`` and the
command line's help stay quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hnlmrec.api import FinishedRun, FinishedStudy, run, study
    from hnlmrec.config import RunConfig
    from hnlmrec.data.interactions import Interactions, ItemTexts
    from hnlmrec.errors import HnlmrecError
    from hnlmrec.estimator import HNLMRec
    from hnlmrec.evaluation import Evaluation, evaluate, rank
    from hnlmrec.negatives import EmbeddingView, Negatives, NegativeSampler, PairBatch
    from hnlmrec.synthesis.store import NegativeStore
    from hnlmrec.training import TrainedModel

_HOMES = {
    "EmbeddingView": "hnlmrec.negatives",
    "Evaluation": "hnlmrec.evaluation",
    "FinishedRun": "hnlmrec.api",
    "FinishedStudy": "hnlmrec.api",
    "HNLMRec": "hnlmrec.estimator",
    "HnlmrecError": "hnlmrec.errors",
    "Interactions": "hnlmrec.data.interactions",
    "ItemTexts": "hnlmrec.data.interactions",
    "NegativeSampler": "hnlmrec.negatives",
    "NegativeStore": "hnlmrec.synthesis.store",
    "Negatives": "hnlmrec.negatives",
    "PairBatch": "hnlmrec.negatives",
    "RunConfig": "hnlmrec.config",
    "TrainedModel": "hnlmrec.training",
    "evaluate": "hnlmrec.evaluation",
    "rank": "hnlmrec.evaluation",
    "run": "hnlmrec.api",
    "study": "hnlmrec.api",
}

__all__ = [
    "EmbeddingView",
    "Evaluation",
    "FinishedRun",
    "FinishedStudy",
    "HNLMRec",
    "HnlmrecError",
    "Interactions",
    "ItemTexts",
    "NegativeSampler",
    "NegativeStore",
    "Negatives",
    "PairBatch",
    "RunConfig",
    "TrainedModel",
    "evaluate",
    "rank",
    "run",
    "study",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
