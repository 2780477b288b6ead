"""The negative store: the hard-negative vector of each training pair."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Self

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.data.interactions import Interactions
from hnlmrec.synthesis.vectors import VectorTable

_NAME = "negatives"


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
    def create(cls, folder: Path, interactions: Interactions, width: int) -> Self:
        """Open a store for writing; what an interrupted run wrote there is kept."""
        return cls(
            VectorTable.create(
                folder / _NAME, interactions.train.nnz, width, fingerprint(interactions)
            )
        )

    @classmethod
    def open(cls, folder: Path, interactions: Interactions) -> Self:
        """Open a store of these training pairs for reading; an ArtifactError when it is not."""
        mend = "run `hnlmrec synthesize` again"
        return cls(VectorTable.open(folder / _NAME, note=fingerprint(interactions), mend=mend))

    def write(self, rows: np.ndarray, vectors: Tensor) -> None:
        """Write vectors, scaled to unit length, at rows ``[B]``."""
        self.table.write(rows, F.normalize(vectors.float(), dim=-1))

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Unit float32 vectors ``[B, width]`` of pairs ``[B]`` and which of them exist, bool."""
        vectors, present = self.table.read(index.cpu().numpy())
        return vectors.to(index.device), present.to(index.device)


def fingerprint(interactions: Interactions) -> str:
    """A hash of the training pairs and their order."""
    digest = hashlib.sha256(np.ascontiguousarray(interactions.train.indptr, np.int64).tobytes())
    digest.update(np.ascontiguousarray(interactions.train.indices, np.int32).tobytes())
    return digest.hexdigest()[:32]
