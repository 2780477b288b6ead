"""A small dataset with structure: two tastes of users, two genres of items."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hnlmrec.config import RunConfig
from hnlmrec.data.interactions import Interactions

N_USERS, N_ITEMS = 40, 30
GENRES = ("Drama, Romance", "Action, War")


def pairs(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Users and items: a user likes most items of the own genre and a few of the other."""
    random = np.random.default_rng(seed)
    likes = np.where((np.arange(N_USERS)[:, None] % 2) == (np.arange(N_ITEMS)[None] % 2), 0.6, 0.08)
    users, items = np.nonzero(random.random((N_USERS, N_ITEMS)) < likes)
    return users.astype(np.int32), items.astype(np.int32)


def interactions(seed: int = 0) -> Interactions:
    """The pairs, split at random."""
    users, items = pairs(seed)
    draw = np.random.default_rng(seed + 1).random(len(users))
    split = np.where(draw < 0.7, 0, np.where(draw < 0.85, 1, 2)).astype(np.int8)
    split[np.unique(users, return_index=True)[1]] = 0
    return Interactions.from_pairs(
        pl.Series([f"u{n}" for n in range(N_USERS)]),
        pl.Series([f"i{n}" for n in range(N_ITEMS)]),
        users,
        items,
        split,
    )


def write_files(folder: Path, seed: int = 0) -> Path:
    """``interactions.csv`` and ``items.jsonl`` as a user would have them."""
    folder.mkdir(parents=True, exist_ok=True)
    users, items = pairs(seed)
    rows = ["user_id,item_id"] + [f"u{u},i{i}" for u, i in zip(users, items, strict=True)]
    (folder / "interactions.csv").write_text("\n".join(rows) + "\n")
    lines = [
        json.dumps({"item_id": f"i{n}", "title": f"Film {n}", "categories": GENRES[n % 2]})
        for n in range(N_ITEMS)
    ]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def small_tree(data: Path, model: Path, run: Path, **changes: Any) -> dict[str, Any]:
    """A configuration of seconds: two epochs of everything, on the files of `write_files`."""
    return {
        "run": str(run),
        "data": {"reader": "table", "path": str(data), "min_rating": None, "core": 2},
        "language": {"model": str(model), "max_tokens": 24},
        "profile": {"llm_sample_users": 0, "llm_sample_items": 0},
        "synthesis": {
            "chunk_pairs": 64,
            "pretrain_epochs": 3,
            "finetune": {
                "steps": 3,
                "batch_users": 4,
                "pairs_per_user": 2,
                "rank": 4,
                "head_steps": 12,
                "head_batch": 32,
                "evaluate_every": 1,
            },
        },
        "backbone": {"dim": 8},
        "training": {"epochs": 3, "batch_size": 64, "evaluate_every": 1},
        "models": {
            "uniform": {},
            "dns": {"sampler": {"name": "dns", "candidates": 4}},
            "hnlmrec": {
                "sampler": {"name": "semantic", "base": {"name": "dns", "candidates": 4}},
                "alignment": {"weight": 0.1, "hidden": 8},
            },
        },
        "evaluation": {"cutoffs": [5, 10]},
        **changes,
    }


def small_config(data: Path, model: Path, run: Path, **changes: Any) -> RunConfig:
    """`small_tree`, validated."""
    return RunConfig.from_dict(small_tree(data, model, run, **changes))
