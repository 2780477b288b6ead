"""The corpus of hostile titles and reviews."""

from __future__ import annotations

import json
from pathlib import Path


def hostile_texts() -> list[str]:
    """All of them; very long ones are kept as a text and how often it is repeated."""
    lines = Path(__file__).with_name("hostile_texts.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["text"] * row.get("repeat", 1) for row in rows]
