"""The data sets of `peers.py`, prepared once and handed over as files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.interactions import SPLITS, Interactions
from hnlmrec.data.prepare import prepare
from hnlmrec.errors import DataError
from peers_protocol import Splits
from synthetic import synthetic

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CONFIGS = {
    "movielens-100k": {},
    "toys": {"reader": "table", "path": "amazon-toys-2014"},
}
SYNTHETIC = "synthetic:"


def provide(name: str, folder: Path, seed: int) -> Interactions:
    """Prepare a data set as hnlmrec does and write what all sides read.

    Parameters
    ----------
    name
        A key of `CONFIGS`, or ``synthetic:N``.
    folder
        Receives hnlmrec's own files, ``splits.npz`` and RecBole's files in ``atomic/``.
    seed
        Of the synthetic set.

    Raises
    ------
    DataError
        When the data are not here, or there are none of this name.
    """
    folder.mkdir(parents=True)
    if name.startswith(SYNTHETIC):
        interactions = synthetic(int(float(name.removeprefix(SYNTHETIC))), seed)
    else:
        prepare(_config(name), folder)
        interactions = Interactions.load(folder)
    parts = (np.stack(interactions.pairs(split)) for split in SPLITS)
    Splits((interactions.n_users, interactions.n_items), *parts).save(folder)
    (folder / "atomic").mkdir()
    for split, frame in _atomic(interactions):
        frame.write_csv(folder / "atomic" / f"atomic.{split}.inter", separator="\t")
    return interactions


def describe(interactions: Interactions) -> str:
    """Say how large it is."""
    parts = ", ".join(f"{split} {interactions.part(split).nnz:,}" for split in SPLITS)
    return f"{interactions.n_users:,} users, {interactions.n_items:,} items; {parts}"


def _config(name: str) -> DataConfig:
    if name not in CONFIGS:
        known = ", ".join([*CONFIGS, f"{SYNTHETIC}N"])
        raise DataError(f"there is no data set {name!r}", where="--data", mend=f"choose of {known}")
    settings = dict(CONFIGS[name])
    if "path" in settings:
        path = Path(os.environ.get("HNLMREC_DATA") or SHARED) / settings["path"]
        if not path.is_dir():
            raise DataError(
                "the folder is not here",
                where=str(path),
                mend="name the folder that holds it in HNLMREC_DATA",
            )
        settings["path"] = str(path)
    return DataConfig.model_validate(settings)


def _atomic(interactions: Interactions) -> Iterator[tuple[str, pl.DataFrame]]:
    """The parts as RecBole's atomic files, whose tokens are the indices."""
    for split in SPLITS:
        users, items = interactions.pairs(split)
        yield split, pl.DataFrame({"user_id:token": users, "item_id:token": items})
