"""States of texts by the language model: the target space, and what the amortized head reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.config import FinetuneConfig
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.synthesis.filling import Filling
from hnlmrec.synthesis.query import QueryEncoder, Segments
from hnlmrec.synthesis.task import Progress
from hnlmrec.synthesis.vectors import Rows, Shape, VectorTable

UNTUNED, USER_STATES, ITEM_STATES = "untuned", "user_states", "item_states"
STATES_CHUNK, _USERS = 256, 8192


@dataclass(frozen=True, eq=False)
class Encoded:
    """States of bare texts by the untuned language model, as `hnlmrec.synthesis.encode` wrote them.

    Parameters
    ----------
    items
        Of all items.
    users
        Of all users' profiles; None where nobody reads them.
    """

    items: VectorTable
    users: VectorTable | None = None

    @classmethod
    def open(cls, items: Path, users: Path | None = None) -> Self:
        """Read the folders of both; an ArtifactError when what is wanted is absent or damaged."""
        return cls(load_untuned(items), None if users is None else load_untuned(users))


def load_untuned(folder: Path) -> VectorTable:
    """The states in a folder of the stage `encode`."""
    return VectorTable.open(folder / UNTUNED, mend="run `hnlmrec encode`")


def unit_vectors(table: VectorTable) -> Tensor:
    """States less their mean, at unit length, float32 ``[n, width]``; of items, the target space.

    The states of all texts share a large common part; without it, cosines tell texts apart.
    """
    states = table.read_all()
    return F.normalize(states - states.mean(dim=0), dim=1)


def bare_encoder(language: LocalLanguageModel, config: FinetuneConfig) -> QueryEncoder:
    """What encodes bare texts as the target space has them: untuned, without CF embeddings."""
    # soft tokens, which have a width, do not meet bare texts
    return QueryEncoder(language, config, 1, torch.Generator().manual_seed(0))


def encode_all(
    encoder: QueryEncoder, segments: Segments, path: Path, what: str, progress: Progress | None
) -> VectorTable:
    """Write the states of all segments into a table, chunk by chunk; written rows are kept."""
    return states_of(encoder, segments, path.name, what).fill(path.parent, progress)


def states_of(encoder: QueryEncoder, segments: Segments, name: str, what: str) -> Filling:
    """The table of the states of all segments."""
    shape = Shape(len(segments), encoder.width)

    def compute(rows: Rows) -> Tensor:
        return encoder.encode(segments.take(rows))

    return Filling(name, shape, STATES_CHUNK, compute, f"encoding {what}")


def write_histories(train: sp.csr_array, items: VectorTable, path: Path) -> VectorTable:
    """Write the mean state of each user's training items; of a user without any, that of all.

    Parameters
    ----------
    train
        Training interactions ``[n_users, n_items]``.
    items
        States of all items.
    path
        Of the new table.
    """
    n_users = train.shape[0]
    table = VectorTable.create(path, Shape(n_users, items.width))
    states, mean = items.read_all().numpy(), items.mean().numpy()
    for start in range(0, n_users, _USERS):
        rows = np.arange(start, min(start + _USERS, n_users))
        history = train[rows]
        counts = np.diff(history.indptr)[:, None]
        # whatever an interaction weighs, it is one of the items
        seen = sp.csr_array(
            (np.ones(history.nnz, dtype=np.float32), history.indices, history.indptr),
            shape=history.shape,
        )
        means = np.where(counts > 0, (seen @ states) / np.maximum(counts, 1), mean)
        table.write(rows, torch.from_numpy(means))
    return table
