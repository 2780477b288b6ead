"""The best items for each user, block by block, with the users' and items' own ids."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from hnlmrec.data.interactions import SPLITS, Interactions, Split
from hnlmrec.evaluation.ranking import NOTHING, top_items
from hnlmrec.negatives.protocol import EmbeddingView

Indices = npt.NDArray[np.int64]
Seen = Literal["all", "train", "none"]
# which parts of a user's history are not recommended again
_LEFT_OUT: dict[Seen, tuple[Split, ...]] = {"all": SPLITS, "train": ("train",), "none": ()}
# users in a block: its result is held in memory, its scores in smaller chunks
_BLOCK = 16_384


@dataclass(frozen=True, eq=False)
class Recommender:
    """Ranks items for users by a trained model.

    Parameters
    ----------
    view
        Embeddings that score.
    interactions
        What users have, and everybody's ids.
    items
        Those that may be recommended, int64 indices, ascending; None: all.
    leave_out
        Which of a user's own items are not recommended: ``all`` that are known, those of ``train``
        alone (to look at held-out ones), or ``none``.
    chunk_users
        Users scored together; memory is ``chunk_users`` times the items.
    """

    view: EmbeddingView
    interactions: Interactions
    items: Indices | None = None
    leave_out: Seen = "all"
    chunk_users: int = 1024

    def blocks(self, users: Indices, k: int) -> Iterator[pl.DataFrame]:
        """Recommend ``k`` items to each of many users, in memory that does not grow with them.

        Parameters
        ----------
        users
            Indices, ``[n]``.
        k
            Items a user; fewer where fewer are left.

        Yields
        ------
        DataFrame
            ``user_id``, ``rank`` (from 1), ``item_id``, ``score`` (float32), ``item`` (index):
            rows of some users, in their order.
        """
        known = [self.interactions.part(split) for split in _LEFT_OUT[self.leave_out]]
        vectors = self.view.items
        if self.items is not None:
            known = [matrix[:, self.items] for matrix in known]
            vectors = vectors[torch.from_numpy(self.items)]
        for start in range(0, len(users), _BLOCK):
            some = users[start : start + _BLOCK]
            queries = self.view.users[torch.from_numpy(some)]
            best = top_items(queries, vectors, some, known, k, self.chunk_users)
            row, place = np.nonzero(best != NOTHING)
            column = best[row, place].astype(np.int64)
            where = torch.from_numpy(column)
            scores = (queries[torch.from_numpy(row)] * vectors[where]).sum(dim=1)
            item = column if self.items is None else self.items[column]
            yield pl.DataFrame(
                {
                    "user_id": self.interactions.user_ids[some[row]],
                    "rank": (place + 1).astype(np.int32),
                    "item_id": self.interactions.item_ids[item],
                    "score": scores.numpy(),
                    "item": item,
                }
            )
