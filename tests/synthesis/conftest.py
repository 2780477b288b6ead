from __future__ import annotations

from pathlib import Path

import pytest

from hnlmrec.data.interactions import Interactions
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.synthesis.finetune import SynthesisInputs
from synthesis_cases import TEXTS, encode_texts, language_config, load_language, small_inputs
from synthetic import interactions as small_interactions


@pytest.fixture
def language(tiny_model: Path) -> LocalLanguageModel:
    return load_language(tiny_model)


@pytest.fixture(scope="session")
def interactions() -> Interactions:
    return small_interactions()


@pytest.fixture(scope="session")
def inputs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SynthesisInputs:
    folder = tmp_path_factory.mktemp("encoded")
    return small_inputs(encode_texts(*TEXTS, language_config(tiny_model), folder))
