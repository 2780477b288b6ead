"""States of texts by the language model: the target space, and what the amortized head reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.config import FinetuneConfig
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.synthesis.query import QueryEncoder, Segments
from hnlmrec.synthesis.task import Progress
from hnlmrec.synthesis.vectors import Shape, VectorTable

ITEM_VECTORS, USER_STATES, ITEM_STATES = "untuned_items", "user_states", "item_states"
_CHUNK, _USERS = 256, 8192


def load_item_vectors(folder: Path) -> Tensor:
    """Target space, float32 ``[n_items, width]``: item states less their mean, at unit length.

    The states of all texts share a large common part; without it, cosines tell items apart.
    """
    states = _item_table(folder).read_all()
    return F.normalize(states - states.mean(dim=0), dim=1)


def load_item_centre(folder: Path) -> Tensor:
    """What `load_item_vectors` takes off the states, float32 ``[width]``."""
    return _item_table(folder).mean()


def _item_table(folder: Path) -> VectorTable:
    return VectorTable.open(folder / ITEM_VECTORS, mend="run `hnlmrec finetune`")


def bare_encoder(language: LocalLanguageModel, config: FinetuneConfig) -> QueryEncoder:
    """What encodes bare texts as the target space has them: untuned, without CF embeddings."""
    # soft tokens, which have a width, do not meet bare texts
    return QueryEncoder(language, config, 1, torch.Generator().manual_seed(0))


def encode_all(
    encoder: QueryEncoder, segments: Segments, path: Path, what: str, progress: Progress | None
) -> VectorTable:
    """Write the states of all segments into a table, chunk by chunk; written rows are kept."""
    table = VectorTable.create(path, Shape(len(segments), encoder.width))
    todo = table.missing()
    for start in range(0, len(todo), _CHUNK):
        rows = todo[start : start + _CHUNK]
        table.write(rows, encoder.encode(segments.take(rows)))
        if progress:
            progress(
                f"encoding {what}", len(segments) - len(todo) + start + len(rows), len(segments)
            )
    return table


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
