"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


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
