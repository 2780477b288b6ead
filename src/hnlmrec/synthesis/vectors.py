"""`VectorTable`: rows of float16 vectors on disk, memory-mapped, written in resumable chunks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hnlmrec.artifacts import write_atomically
from hnlmrec.errors import ArtifactError

_CHUNK = 65_536


class VectorTable:
    """A table of vectors that knows which of its rows are written.

    ``NAME.f16`` holds float16 ``[n, width]``, ``NAME.present`` a byte a row, ``NAME.json`` the
    shape and a note on what the rows belong to.

    Parameters
    ----------
    vectors
        float16 ``[n, width]``, a memory map.
    present
        uint8 ``[n]``, 1 where the row is written.
    """

    def __init__(self, vectors: npt.NDArray[np.float16], present: npt.NDArray[np.uint8]) -> None:
        self._vectors = vectors
        self._present = present

    @classmethod
    def create(cls, path: Path, n: int, width: int, note: str = "") -> Self:
        """Open for writing; rows that an interrupted run wrote under the same note are kept."""
        meta = {"n": n, "width": width, "note": note}
        path.parent.mkdir(parents=True, exist_ok=True)
        mode: Literal["r+", "w+"] = "r+" if _read_meta(path) == meta else "w+"
        table = cls(*_map(path, n, width, mode))
        write_atomically(path.with_suffix(".json"), json.dumps(meta).encode())
        return table

    @classmethod
    def open(cls, path: Path, *, note: str = "", mend: str = "") -> Self:
        """Open for reading.

        Raises
        ------
        ArtifactError
            When the table is absent, cut short, or of another note.
        """
        meta = _read_meta(path)
        if meta is None:
            raise ArtifactError("there is no table of vectors", where=str(path), mend=mend)
        if meta["note"] != note:
            raise ArtifactError(
                "the vectors were written for other data", where=str(path), mend=mend
            )
        n, width = meta["n"], meta["width"]
        size = path.with_suffix(".f16").stat().st_size if path.with_suffix(".f16").exists() else 0
        if size != n * width * 2:
            raise ArtifactError(
                f"the vectors are cut short: {size:,} of {n * width * 2:,} bytes",
                where=str(path.with_suffix(".f16")),
                mend=mend,
            )
        return cls(*_map(path, n, width, "r"))

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def width(self) -> int:
        """Size of a vector."""
        return int(self._vectors.shape[1])

    def coverage(self) -> float:
        """Share of the rows that are written."""
        return float(self._present.mean())

    def missing(self) -> npt.NDArray[np.int64]:
        """Rows still to be written."""
        return np.flatnonzero(self._present == 0)

    def write(self, rows: npt.NDArray[np.int64], vectors: Tensor) -> None:
        """Write rows and bring them to the disk before they are marked as written."""
        self._vectors[rows] = vectors.to(torch.float16).cpu().numpy()
        _flush(self._vectors)
        self._present[rows] = 1
        _flush(self._present)

    def read(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """float32 ``[len(rows), width]`` and whether each row is written, bool."""
        vectors = torch.from_numpy(self._vectors[rows]).float()
        return vectors, torch.from_numpy(self._present[rows] == 1)

    def mean(self) -> Tensor:
        """Mean of all rows, float32 ``[width]``, read in chunks."""
        total = np.zeros(self.width)
        for start in range(0, len(self), _CHUNK):
            total += self._vectors[start : start + _CHUNK].sum(axis=0, dtype=np.float64)
        return torch.from_numpy(total / len(self)).float()

    def read_all(self) -> Tensor:
        """All rows as float32 ``[n, width]``: for tables of items, not of users or pairs."""
        return torch.from_numpy(self._vectors.astype(np.float32))


def _read_meta(path: Path) -> dict[str, Any] | None:
    try:
        meta: dict[str, Any] = json.loads(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return None
    return meta


def _map(
    path: Path, n: int, width: int, mode: Literal["r", "r+", "w+"]
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
    return (
        np.memmap(path.with_suffix(".f16"), np.float16, mode, shape=(n, width)),
        np.memmap(path.with_suffix(".present"), np.uint8, mode, shape=(n,)),
    )


def _flush(array: npt.NDArray[np.generic]) -> None:
    if isinstance(array, np.memmap):
        array.flush()
