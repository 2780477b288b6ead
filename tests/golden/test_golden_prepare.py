"""MovieLens-100k as it was prepared before tables were read in blocks: later stages rest on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hnlmrec.config import DataConfig
from hnlmrec.data.embedded import locate
from hnlmrec.data.interactions import SPLITS, Interactions, ItemTexts
from hnlmrec.data.prepare import prepare
from hnlmrec.errors import DataError

GOLDEN = {
    "users": "8548ee7c8b319064",
    "items": "d1f01c6a7ba2ab2a",
    "pairs": "f229fd38dd0b53de",
    "texts": "545a2b4e1ce1a898",
}


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def test_movielens_is_prepared_as_it_always_was(tmp_path: Path) -> None:
    try:
        locate("embedded:ml-100k")
    except DataError as error:
        pytest.skip(str(error))
    report = prepare(DataConfig(), tmp_path)
    data = Interactions.load(tmp_path)
    texts = ItemTexts.load(tmp_path).frame
    found = {
        "users": _digest("\n".join(data.user_ids).encode()),
        "items": _digest("\n".join(data.item_ids).encode()),
        "pairs": _digest(*(ids.tobytes() for part in SPLITS for ids in data.pairs(part))),
        "texts": _digest(*("\n".join(texts[name]).encode() for name in texts.columns)),
    }
    assert found == GOLDEN
    assert report.interactions == {"train": 43_421, "valid": 5_496, "test": 5_496}
    assert report.notes == []
