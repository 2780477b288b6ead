"""Configurations and models for the tests of synthesis."""

from __future__ import annotations

from pathlib import Path

from hnlmrec.config import LanguageConfig, SynthesisConfig
from hnlmrec.language.local import LocalLanguageModel

DIM = 8


def load_language(folder: Path, dtype: str = "float32") -> LocalLanguageModel:
    """A fresh model fine-tuning changes the one that it is given."""
    return LocalLanguageModel.load(
        LanguageConfig.model_validate(
            {"model": str(folder), "dtype": dtype, "max_tokens": 24, "batch_tokens": 128}
        )
    )


def synthesis_config(mode: str = "amortized", **finetune: object) -> SynthesisConfig:
    return SynthesisConfig.model_validate(
        {
            "mode": mode,
            "chunk_pairs": 50,
            "finetune": {
                "steps": 3,
                "batch_users": 4,
                "pairs_per_user": 2,
                "rank": 4,
                "lr": 1e-2,
                "head_steps": 10,
                "head_batch": 32,
                "evaluate_every": 1,
                **finetune,
            },
        }
    )
