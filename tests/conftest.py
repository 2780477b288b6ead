"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# before torch reads it: see `hnlmrec.cli.main`
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# tests neither read nor write what the user's models have written, nor do programs they start
_answers = tempfile.TemporaryDirectory()
os.environ["HNLMREC_ANSWERS"] = f"{_answers.name}/answers.sqlite"

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

# a slow or busy machine is no fault of the code, and CI must draw what a developer drew
settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")
# small tensors gain nothing from threads, and threads wait for each other on a busy machine
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Find a dataset that is not part of the project, or skip the test.

    Datasets lie in the folder that HNLMREC_DATA names, or in shared/data beside the repository.
    """
    beside = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("HNLMREC_DATA", beside))

    def find(name: str) -> Path:
        if not (root / name).is_dir():
            pytest.skip(f"the dataset {name} is not in {root}; set HNLMREC_DATA to its parent")
        return root / name

    return find


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random two-layer language model."""
    pytest.importorskip("transformers", reason="needs the llm extra")
    from tiny_language_model import build_tiny_language_model

    return build_tiny_language_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the files of a small dataset."""
    from synthetic import write_files

    return write_files(tmp_path_factory.mktemp("data"))
