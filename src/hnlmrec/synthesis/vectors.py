"""`VectorTable`: rows of vectors on disk, in memory-mapped shards, written in resumable chunks."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from hnlmrec.disk import write_atomically
from hnlmrec.errors import ArtifactError
from hnlmrec.kernels import gather

SHARD_ROWS = 1 << 18
_CHUNK = 65_536
_LARGEST = 127
_ROUNDING_OF_HALVES = 2.0**-11
Storage = Literal["float16", "int8"]
Rows = npt.NDArray[np.int64]
_Mode = Literal["r", "r+", "w+"]


@dataclass(frozen=True)
class Shape:
    """What a table is: ``note`` says what the rows belong to."""

    n: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(gt=0)]
    note: str = ""
    storage: Storage = "float16"
    shard_rows: Annotated[int, Field(gt=0)] = SHARD_ROWS

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.width * np.dtype(self.storage).itemsize

    def shards(self) -> Iterator[tuple[int, int]]:
        """First row and number of rows of each shard."""
        for start in range(0, self.n, self.shard_rows):
            yield start, min(self.shard_rows, self.n - start)


class VectorTable:
    """A table of vectors that knows which of its rows are written.

    ``NAME-00000.float16``, ``NAME-00001.float16`` ... hold the rows, ``shard_rows`` each;
    ``NAME.present`` a byte a row; ``NAME.json`` the `Shape`. With ``int8`` storage a number is an
    integer up to 127 times the scale of its row, and ``NAME.scales`` holds those.

    Parameters
    ----------
    shape
        Rows, width and how they are stored.
    shards
        Memory maps, of all rows together ``[n, width]``.
    scales
        float32 ``[n]`` for int8, else None.
    present
        uint8 ``[n]``, 1 where the row is written.
    """

    def __init__(
        self,
        shape: Shape,
        shards: list[np.memmap[Any, Any]],
        scales: np.memmap[Any, Any] | None,
        present: np.memmap[Any, Any],
    ) -> None:
        self.shape = shape
        self._shards, self._scales, self._present = shards, scales, present

    @classmethod
    def create(cls, path: Path, shape: Shape) -> Self:
        """Open for writing; rows that an interrupted run wrote in the same shape are kept."""
        path.parent.mkdir(parents=True, exist_ok=True)
        table = cls._map(path, shape, "r+" if _read_shape(path) == shape else "w+")
        for mapped in (*table._shards, table._scales, table._present):
            if mapped is not None:
                _reserve(Path(str(mapped.filename)), mapped.nbytes)
        write_atomically(path.with_suffix(".json"), json.dumps(asdict(shape)).encode())
        return table

    @classmethod
    def open(cls, path: Path, *, note: str = "", mend: str = "") -> Self:
        """Open for reading.

        Raises
        ------
        ArtifactError
            When the table is absent, cut short, or of another note.
        """
        shape = _read_shape(path)
        if shape is None:
            raise ArtifactError("there is no table of vectors", where=str(path), mend=mend)
        if shape.note != note:
            raise ArtifactError(
                "the vectors were written for other data", where=str(path), mend=mend
            )
        for file, right in _sizes(path, shape):
            size = file.stat().st_size if file.exists() else 0
            # of nothing numpy maps a byte
            if right and size != right:
                raise ArtifactError(
                    f"the vectors are cut short: {size:,} of {right:,} bytes",
                    where=str(file),
                    mend=mend,
                )
        return cls._map(path, shape, "r")

    @classmethod
    def _map(cls, path: Path, shape: Shape, mode: _Mode) -> Self:
        def mapped(file: Path, dtype: Any, *size: int) -> np.memmap[Any, Any]:
            return np.memmap(file, dtype, mode, shape=size)

        shards = [
            mapped(_shard(path, shape, number), shape.storage, rows, shape.width)
            for number, (_, rows) in enumerate(shape.shards())
        ]
        scales = None
        if shape.storage == "int8":
            scales = mapped(path.with_suffix(".scales"), np.float32, shape.n)
        return cls(shape, shards, scales, mapped(path.with_suffix(".present"), np.uint8, shape.n))

    def __len__(self) -> int:
        return self.shape.n

    @property
    def width(self) -> int:
        """Size of a vector."""
        return self.shape.width

    def coverage(self) -> float:
        """Share of the rows that are written."""
        return float(self._present.mean())

    def missing(self) -> Rows:
        """Rows still to be written."""
        return np.flatnonzero(self._present == 0)

    def error_bound(self) -> float:
        """What the length of the difference to a vector of length 1 is below, for all rows."""
        if self._scales is None:
            return _ROUNDING_OF_HALVES
        largest = float(self._scales.max(initial=0))
        return largest / 2 * math.sqrt(self.width)

    def write(self, rows: Rows, vectors: Tensor) -> None:
        """Write rows ``[B, width]`` and bring them to the disk before they are marked as written.

        A row of int8 is scaled by its own largest number.
        """
        numbers = vectors.float().cpu().numpy()
        if self._scales is None:
            self._put(rows, numbers.astype(np.float16), None)
            return
        scales = np.abs(numbers).max(axis=1, initial=0) / _LARGEST
        numbers = np.rint(numbers / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
        self._put(rows, numbers, scales)

    def copy(self, rows: Rows, source: VectorTable, places: Rows) -> None:
        """Write the rows at ``places`` of a table of the same width and storage, bit for bit."""
        numbers = np.empty((len(rows), self.width), dtype=self.shape.storage)
        for number, inside, at in source._parts(places):
            numbers[at] = source._shards[number][inside]
        self._put(rows, numbers, None if source._scales is None else source._scales[places])

    def _put(self, rows: Rows, numbers: npt.NDArray[Any], scales: npt.NDArray[Any] | None) -> None:
        if self._scales is not None:
            self._scales[rows] = scales
            self._scales.flush()
        for number, inside, places in self._parts(rows):
            self._shards[number][inside] = numbers[places]
            self._shards[number].flush()
        self._present[rows] = 1
        self._present.flush()

    def read(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """float32 ``[len(rows), width]`` and whether each row is written, bool."""
        out = np.empty((len(rows), self.width), dtype=np.float32)
        for number, inside, places in self._parts(rows):
            start = number * self.shape.shard_rows
            scales = None if self._scales is None else self._scales[start:]
            gather(self._shards[number], scales, inside, places, out)
        return torch.from_numpy(out), torch.from_numpy(self._present[rows] == 1)

    def mean(self) -> Tensor:
        """Mean of all rows, float32 ``[width]``, read in chunks."""
        total = torch.zeros(self.width, dtype=torch.float64)
        for start in range(0, len(self), _CHUNK):
            rows, _ = self.read(np.arange(start, min(start + _CHUNK, len(self))))
            total += rows.sum(dim=0, dtype=torch.float64)
        return (total / len(self)).float()

    def read_all(self) -> Tensor:
        """All rows as float32 ``[n, width]``: for tables of items, not of users or pairs."""
        return self.read(np.arange(len(self)))[0]

    def _parts(self, rows: Rows) -> Iterator[tuple[int, Rows, Rows]]:
        """The number of each shard that rows are in, where in it, and where in ``rows``."""
        of_row = rows // self.shape.shard_rows
        for number in np.unique(of_row):
            places = np.flatnonzero(of_row == number)
            yield int(number), rows[places] - number * self.shape.shard_rows, places


def written_width(path: Path) -> int | None:
    """Size of the vectors of a table that was begun, or None where there is none."""
    shape = _read_shape(path)
    return None if shape is None else shape.width


def _reserve(file: Path, size: int) -> None:
    """Take the room on the disk now: a map that cannot grow kills the process without a word."""
    if not size or not hasattr(os, "posix_fallocate"):
        return
    with file.open("rb+") as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            # a disk that cannot reserve fails later, as it did without
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise


def _sizes(path: Path, shape: Shape) -> Iterator[tuple[Path, int]]:
    """The files of a table, and how many bytes each has."""
    for number, (_, rows) in enumerate(shape.shards()):
        yield _shard(path, shape, number), rows * shape.row_bytes
    if shape.storage == "int8":
        yield path.with_suffix(".scales"), shape.n * np.dtype(np.float32).itemsize
    yield path.with_suffix(".present"), shape.n


def _read_shape(path: Path) -> Shape | None:
    try:
        return TypeAdapter(Shape).validate_json(path.with_suffix(".json").read_bytes(), strict=True)
    except (OSError, ValidationError):
        return None


def _shard(path: Path, shape: Shape, number: int) -> Path:
    return path.with_name(f"{path.name}-{number:05}.{shape.storage}")
