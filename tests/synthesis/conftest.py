from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hnlmrec.data.interactions import Interactions
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.negatives import EmbeddingView
from hnlmrec.synthesis.finetune import SynthesisInputs
from synthesis_cases import DIM, encode_texts, language_config, load_language
from synthetic import GENRES, N_ITEMS, N_USERS
from synthetic import interactions as small_interactions


@pytest.fixture
def language(tiny_model: Path) -> LocalLanguageModel:
    return load_language(tiny_model)


@pytest.fixture(scope="session")
def interactions() -> Interactions:
    return small_interactions()


@pytest.fixture(scope="session")
def inputs(
    interactions: Interactions, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> SynthesisInputs:
    generator = torch.Generator().manual_seed(5)
    taste = torch.randn(2, DIM, generator=generator)
    users = taste[torch.arange(N_USERS) % 2] + 0.3 * torch.randn(N_USERS, DIM, generator=generator)
    items = taste[torch.arange(N_ITEMS) % 2] + 0.3 * torch.randn(N_ITEMS, DIM, generator=generator)
    texts = (
        [f"Likes {GENRES[n % 2]}." for n in range(N_USERS)],
        [f"Film {n}: {GENRES[n % 2]}" for n in range(N_ITEMS)],
    )
    folder = tmp_path_factory.mktemp("encoded")
    encoded = encode_texts(*texts, language_config(tiny_model), folder)
    return SynthesisInputs(interactions, *texts, EmbeddingView(users, items), encoded)
