"""The negative store: the hard-negative vector of each training pair."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ArtifactError
from hnlmrec.synthesis.vectors import Shape, Storage, VectorTable

NEGATIVES = "negatives"
_CHUNK, _SLACK = 65_536, 1e-3


class NegativeStore:
    """Random access to synthesised vectors: row ``i`` is pair ``i`` of ``pairs("train")``.

    Parameters
    ----------
    table
        Unit vectors, one row a training pair.
    """

    def __init__(self, table: VectorTable) -> None:
        self.table = table

    @classmethod
    def create(
        cls, folder: Path, interactions: Interactions, width: int, storage: Storage = "float16"
    ) -> Self:
        """Open a store for writing; what an interrupted run wrote there is kept."""
        shape = store_shape(interactions, width, storage)
        return cls(VectorTable.create(folder / NEGATIVES, shape))

    @classmethod
    def open(cls, folder: Path, interactions: Interactions) -> Self:
        """Open a store of these training pairs for reading; an ArtifactError when it is not."""
        mend = "run `hnlmrec synthesize` again"
        return cls(VectorTable.open(folder / NEGATIVES, note=fingerprint(interactions), mend=mend))

    def write(self, rows: np.ndarray, vectors: Tensor) -> None:
        """Write vectors, scaled to unit length, at rows ``[B]``."""
        self.table.write(rows, unit(vectors))

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Unit float32 vectors ``[B, width]`` of pairs ``[B]`` and which of them exist, bool."""
        vectors, present = self.table.read(index.cpu().numpy())
        return vectors.to(index.device), present.to(index.device)


def unit(vectors: Tensor) -> Tensor:
    """Vectors as a store keeps them: float32, of unit length."""
    return F.normalize(vectors.float(), dim=-1)


def store_shape(interactions: Interactions, width: int, storage: Storage) -> Shape:
    """Of the table of a store."""
    return Shape(interactions.train.nnz, width, fingerprint(interactions), storage)


def verify(folder: Path, interactions: Interactions) -> list[str]:
    """Look at every row of a store: is it there, finite, and of unit length.

    Returns
    -------
    list[str]
        What was found.

    Raises
    ------
    ArtifactError
        When rows are neither absent nor unit vectors.
    """
    store = NegativeStore.open(folder, interactions)
    slack, wrong = max(store.table.error_bound(), _SLACK), 0
    for index in torch.arange(len(store.table)).split(_CHUNK):
        vectors, present = store.vectors(index)
        # what is not a number is not within the slack either
        wrong += int((~((vectors[present].norm(dim=1) - 1).abs() <= slack)).sum())
    if wrong:
        raise ArtifactError(
            f"{wrong:,} of {len(store.table):,} vectors are not of unit length",
            where=str(folder),
            mend="delete that folder and run `hnlmrec synthesize` again",
        )
    n_shards = len(list(store.table.shape.shards()))
    return [
        f"{len(store.table):,} rows of {store.table.width} {store.table.shape.storage} in "
        f"{n_shards} shards, coverage {store.table.coverage():.2%}; all that are there are of unit "
        "length"
    ]


def fingerprint(interactions: Interactions) -> str:
    """A hash of the training pairs and their order."""
    digest = hashlib.sha256(np.ascontiguousarray(interactions.train.indptr, np.int64).tobytes())
    digest.update(np.ascontiguousarray(interactions.train.indices, np.int32).tobytes())
    return digest.hexdigest()[:32]
