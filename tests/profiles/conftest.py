from __future__ import annotations

import pytest

from hnlmrec.data import Interactions, ItemTexts
from profile_cases import CATEGORIES, TITLES, make_interactions, text_frame


@pytest.fixture
def texts() -> ItemTexts:
    return ItemTexts(text_frame(title=TITLES, categories=CATEGORIES))


@pytest.fixture
def interactions() -> Interactions:
    """Four users; user 3 has no training item."""
    train = [(0, 0), (0, 1), (0, 4), (1, 2), (1, 3), (2, 0), (2, 5)]
    held_out = [(0, 2, 1), (0, 3, 2), (1, 0, 1), (2, 1, 2), (3, 3, 2)]
    return make_interactions([(u, i, 0) for u, i in train] + held_out, 4, 6)
