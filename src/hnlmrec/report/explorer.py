"""The data of the explorer: users, items, and what is picked for users, as compact columns."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp
import torch
from rich.console import Console
from torch import Tensor

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.context import Context
from hnlmrec.errors import ArtifactError
from hnlmrec.profiles import Profiles
from hnlmrec.report.picks import NEAREST, Picks, pick
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import PROFILE

MOST_USERS = 20_000
_PAIRS = 5  # training pairs of a user that negatives are shown for
_TEXT, _TITLE = 280, 160  # letters of a text at most
_MAP = 1000  # steps of a coordinate
_SEED = 0
Ints = npt.NDArray[np.int64]


def explorer(folder: Path, most_users: int = MOST_USERS) -> dict[str, Any]:
    """Gather what the explorer shows of a run.

    Parameters
    ----------
    folder
        Of the run; its chosen model is trained.
    most_users
        A random sample of so many users is shown where there are more.

    Returns
    -------
    dict[str, Any]
        Plain values for `packed`. Lists of several users or pairs are flat, beside their counts.
    """
    config = RunConfig.from_yaml(folder / "config.yaml", {"run": str(folder)})
    context = Context(config, RunFolder(folder), Reporter(Console(quiet=True)))
    data = context.interactions
    shown = sample_users(data.n_users, most_users)
    counts, index = first_pairs(data.train, shown)
    picks = pick(context, index)
    titles = [title[:_TITLE] for title in context.item_texts.titles()]
    plane, share = principal_plane(picks.items)
    return {
        "model": picks.model,
        "seed": config.seeds[0],
        "users_in_all": data.n_users,
        "items": {
            "ids": data.item_ids.to_list(),
            "titles": titles,
            "texts": _texts(context.item_texts.frame),
            "popularity": np.bincount(data.train.indices, minlength=data.n_items).tolist(),
            "x": plane[:, 0].tolist(),
            "y": plane[:, 1].tolist(),
            "variance": round(share, 4),
        },
        "users": {
            "ids": data.user_ids.gather(shown).to_list(),
            **_profiles(context, shown),
            "train": _rows(data.train[shown]),
            "held_out": _rows((data.valid + data.test).tocsr()[shown]),
        },
        "pairs": {"counts": counts.tolist(), **_pairs(data.train.indices[index], picks)},
    }


def packed(content: dict[str, Any]) -> str:
    """Content as JSON, compressed and in letters that any page may hold."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    # no time in it: the same content gives the same page
    return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode("ascii")


def sample_users(n_users: int, most: int) -> Ints:
    """All users, or a random sample of ``most`` of them, ascending."""
    if n_users <= most:
        return np.arange(n_users)
    return np.sort(np.random.default_rng(_SEED).choice(n_users, size=most, replace=False))


def first_pairs(train: sp.csr_array, users: Ints) -> tuple[Ints, Ints]:
    """The first few training pairs of each user: how many, and their positions in the matrix."""
    starts = train.indptr[users].astype(np.int64)
    counts = np.minimum(train.indptr[users + 1] - starts, _PAIRS)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return counts, np.repeat(starts, counts) + within


def principal_plane(items: Tensor) -> tuple[Ints, float]:
    """Project item embeddings ``[n, D]`` on their two main directions.

    Returns
    -------
    tuple[ndarray, float]
        Whole coordinates from 0 to 1,000, ``[n, 2]``, and the share of the variance that the
        plane keeps.
    """
    centred = items.double() - items.double().mean(dim=0)
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    plane = torch.zeros(len(items), 2, dtype=torch.double)
    plane[:, : len(directions[:2])] = centred @ directions[:2].T
    low, high = plane.amin(dim=0), plane.amax(dim=0)
    steps = (plane - low) / (high - low).clamp_min(1e-12) * _MAP
    share = (values[:2] ** 2).sum() / (values**2).sum().clamp_min(1e-12)
    return steps.round().long().numpy(), float(share)


def _rows(matrix: sp.csr_array) -> dict[str, list[int]]:
    """The items of each row, flat, and how many there are in each."""
    return {"counts": np.diff(matrix.indptr).tolist(), "items": matrix.indices.tolist()}


def _pairs(positives: npt.NDArray[np.int32], picks: Picks) -> dict[str, Any]:
    """The pairs' items and negatives, flat; similarities are in hundredths."""
    hundredths = np.rint(np.nan_to_num(picks.cosines) * 100).astype(int)
    return {
        "positives": positives.tolist(),
        "nearest": NEAREST if picks.nearest.shape[1] else 0,
        "synthesised": picks.nearest.flatten().tolist(),
        "cosines": hundredths.flatten().tolist(),
        "picks": {name: items.tolist() for name, items in picks.samplers.items()},
    }


def _profiles(context: Context, shown: Ints) -> dict[str, Any]:
    """Profiles of the shown users and who wrote them; nothing where the run wrote none."""
    try:
        profiles = Profiles.load(context.run.stage(PROFILE))
    except ArtifactError:
        return {"profiles": None, "writers": None}
    return {
        "profiles": [profiles.users[user] for user in shown.tolist()],
        "writers": [profiles.user_sources[user] for user in shown.tolist()],
    }


def _texts(frame: pl.DataFrame) -> list[str]:
    """What is known of each item besides its title, shortened."""
    parts = [
        pl.when(pl.col(name) != "").then(pl.col(name))
        for name in ("brand", "categories", "description")
    ]
    text = pl.concat_str(parts, separator=" · ", ignore_nulls=True)
    return frame.select(text.str.slice(0, _TEXT).alias("text"))["text"].to_list()
