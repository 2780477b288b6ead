from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hnlmrec.config import LanguageConfig
from hnlmrec.language import LocalLanguageModel


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make decoding many times slower on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tiny_model: Path) -> LocalLanguageModel:
    return LocalLanguageModel.load(
        LanguageConfig(model=str(tiny_model), dtype="float32", device="cpu")
    )
