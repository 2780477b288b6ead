"""`Evaluation`: a row of metrics a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import polars as pl

from hnlmrec.artifacts import reading
from hnlmrec.data.interactions import Interactions
from hnlmrec.distributed import ALONE, World
from hnlmrec.errors import DataError
from hnlmrec.evaluation.metrics import hits, per_user
from hnlmrec.evaluation.ranking import rank_together
from hnlmrec.negatives.protocol import EmbeddingView


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Metrics of one model on one part of the data.

    Parameters
    ----------
    frame
        Columns ``user`` (index), ``n_relevant``, and one for each metric; a row a user with at
        least one relevant item.
    hits
        Where relevant items stand, as `metrics.hits` gives them; None where that was not kept.
    """

    frame: pl.DataFrame
    hits: pl.DataFrame | None = None

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics, such as ``recall@20``."""
        return [name for name in self.frame.columns if "@" in name]

    def means(self) -> dict[str, float]:
        """Average each metric over the users."""
        return self.frame.select(pl.col(self.metrics).mean()).row(0, named=True)

    def save(self, path: Path) -> None:
        """Write the rows as Parquet."""
        self.frame.write_parquet(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with reading("the evaluation", path, "hnlmrec evaluate"):
            return cls(pl.read_parquet(path))


def evaluate(
    view: EmbeddingView,
    interactions: Interactions,
    split: Literal["valid", "test"],
    cutoffs: Sequence[int],
    chunk_users: int = 1024,
    world: World = ALONE,
) -> Evaluation:
    """Rank the whole catalogue for every user with relevant items, and measure it.

    Items that a user has in training are not ranked; for ``test`` neither are those of
    validation.

    Parameters
    ----------
    view
        Embeddings that score.
    interactions
        Whose part ``split`` is relevant.
    split
        The part.
    cutoffs
        The ``k`` of the metrics.
    chunk_users
        Users ranked together.
    world
        Processes that share the users out; all are given the whole.

    Raises
    ------
    DataError
        If no user has an item in the part.
    """
    relevant = interactions.part(split)
    users = np.flatnonzero(np.diff(relevant.indptr))
    if not len(users):
        raise DataError(
            f"no user has an item in the part {split!r}, so there is nothing to measure",
            where="data.split",
            mend="give this part a larger share, or keep more interactions",
        )
    known = [interactions.train] if split == "valid" else [interactions.train, interactions.valid]
    ranking = rank_together(view, users, known, max(cutoffs), chunk_users, world)
    return Evaluation(per_user(ranking, relevant, users, cutoffs), hits(ranking, relevant, users))


def recall_at(
    view: EmbeddingView,
    interactions: Interactions,
    split: Literal["valid", "test"],
    k: int,
    chunk_users: int = 1024,
    world: World = ALONE,
) -> float:
    """Mean Recall@k over the users, for early stopping; see `evaluate`."""
    rows = evaluate(view, interactions, split, [k], chunk_users, world)
    return rows.means()[f"recall@{k}"]
