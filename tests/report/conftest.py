"""Reports that several test modules look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_cases import HOSTILE, write_run

from synthetic import interactions


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first items have titles that attack the page."""
    data = interactions()
    titles = [*HOSTILE, *(f"Toy {n}" for n in range(len(HOSTILE), data.n_items))]
    folder = tmp_path_factory.mktemp("runs") / "toys"
    lines = ["warning: the synthesised negatives have collapsed"]
    return write_run(folder, data, titles=titles, lines=lines, fallbacks=3)
