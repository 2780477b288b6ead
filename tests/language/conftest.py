from __future__ import annotations

from pathlib import Path

import pytest

from hnlmrec.config import LanguageConfig
from hnlmrec.language import LocalLanguageModel


@pytest.fixture(scope="session")
def tiny(tiny_model: Path) -> LocalLanguageModel:
    return LocalLanguageModel.load(
        LanguageConfig(model=str(tiny_model), dtype="float32", device="cpu")
    )
