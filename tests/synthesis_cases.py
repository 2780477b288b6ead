"""Configurations and models for the tests of synthesis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hnlmrec.config import LanguageConfig, SynthesisConfig
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.negatives import EmbeddingView
from hnlmrec.synthesis.encode import encode
from hnlmrec.synthesis.finetune import SynthesisInputs
from hnlmrec.synthesis.states import Encoded
from synthetic import GENRES, N_ITEMS, N_USERS, interactions

DIM = 8
TEXTS = (
    [f"Likes {GENRES[n % 2]}." for n in range(N_USERS)],
    [f"Film {n}: {GENRES[n % 2]}" for n in range(N_ITEMS)],
)


def language_config(model: Path | str, **changes: object) -> LanguageConfig:
    """Texts of at most 24 tokens, in small batches."""
    tree = {"model": str(model), "dtype": "float32", "max_tokens": 24, "batch_tokens": 128}
    return LanguageConfig.model_validate({**tree, **changes})


def load_language(folder: Path, dtype: str = "float32") -> LocalLanguageModel:
    """A fresh model: fine-tuning changes the one that it is given."""
    return LocalLanguageModel.load(language_config(folder, dtype=dtype))


def encode_texts(
    users: Sequence[str], items: Sequence[str], language: LanguageConfig, folder: Path
) -> Encoded:
    """What the stage `encode` gives of these texts."""
    for kind, texts in (("user", users), ("item", items)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        encode(kind, texts, language, synthesis_config().finetune, folder / kind)
    return Encoded.open(folder / "item", folder / "user")


def small_inputs(encoded: Encoded) -> SynthesisInputs:
    """The small dataset with embeddings that know its two tastes; ``encoded`` is of `TEXTS`."""
    generator = torch.Generator().manual_seed(5)
    taste = torch.randn(2, DIM, generator=generator)
    users = taste[torch.arange(N_USERS) % 2] + 0.3 * torch.randn(N_USERS, DIM, generator=generator)
    items = taste[torch.arange(N_ITEMS) % 2] + 0.3 * torch.randn(N_ITEMS, DIM, generator=generator)
    return SynthesisInputs(interactions(), *TEXTS, EmbeddingView(users, items), encoded)


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
