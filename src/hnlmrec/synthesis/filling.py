"""`Filling`: a table of vectors that a stage computes, in chunks that any process can compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from torch import Tensor

from hnlmrec.synthesis.task import Progress
from hnlmrec.synthesis.vectors import Rows, Shape, VectorTable


@dataclass(frozen=True, eq=False)
class Filling:
    """What a table holds, and how its rows are computed.

    Parameters
    ----------
    name
        Of the table, in the folder of its stage.
    shape
        Of the table.
    chunk
        Rows that are computed together: always the same ones, since a vector depends on those
        beside it by rounding.
    compute
        Gives the vectors of rows, float ``[len(rows), width]``.
    what
        What is done with it, as progress says.
    """

    name: str
    shape: Shape
    chunk: int
    compute: Callable[[Rows], Tensor]
    what: str

    def fill(self, folder: Path, progress: Progress | None = None) -> VectorTable:
        """Write the rows that the table in a folder misses; interrupted, it goes on from there."""
        table = VectorTable.create(folder / self.name, self.shape)
        todo = self.chunks(table.missing())
        done = len(table) - sum(len(self.rows(chunk)) for chunk in todo)
        for chunk in todo:
            rows = self.rows(chunk)
            table.write(rows, self.compute(rows))
            done += len(rows)
            if progress:
                progress(self.what, done, len(table))
        return table

    def chunks(self, rows: Rows) -> list[int]:
        """Numbers of the chunks that some rows are in, ascending."""
        found: list[int] = np.unique(rows // self.chunk).tolist()
        return found

    def rows(self, chunk: int) -> Rows:
        """The rows of a chunk."""
        return np.arange(chunk * self.chunk, min((chunk + 1) * self.chunk, self.shape.n))

    def part(self, rows: Rows) -> Self:
        """A table of its own for some rows, which are whole chunks in ascending order."""
        return replace(
            self,
            shape=replace(self.shape, n=len(rows)),
            compute=lambda own: self.compute(rows[own]),
        )
