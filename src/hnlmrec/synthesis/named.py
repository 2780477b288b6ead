"""`Named`: the hard negatives that the language model named (Route A), by training pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.artifacts import reading
from hnlmrec.synthesis.vectors import VectorTable

NAMES, NAME_STATES = "names.parquet", "name_states"
NO_ITEM = -1


@dataclass(frozen=True, eq=False)
class Named:
    """The training pairs that were asked about, and what was named.

    Parameters
    ----------
    pairs
        Positions in ``Interactions.pairs("train")``, ascending, int64 ``[n]``.
    rows
        Row of each one's name among the distinct names; -1 without a name, int64 ``[n]``.
    items
        The item that the name means, if the user has not interacted with it; else -1, int64
        ``[n]``.
    """

    pairs: Tensor
    rows: Tensor
    items: Tensor

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `hnlmrec.synthesis.naming.write_names` wrote; an ArtifactError if it cannot."""
        with reading("the names", folder / NAMES, "hnlmrec name"):
            frame = pl.read_parquet(folder / NAMES, columns=["pair", "row", "item", "usable"])
        items = np.where(frame["usable"], frame["item"], NO_ITEM)
        parts = (frame["pair"], frame["row"], items)
        return cls(*(torch.from_numpy(np.array(part, dtype=np.int64)) for part in parts))

    def usable(self) -> npt.NDArray[np.int64]:
        """Positions of the pairs with an item that can be a negative."""
        found: npt.NDArray[np.int64] = self.pairs[self.items != NO_ITEM].numpy()
        return found

    def find(self, index: Tensor, values: Tensor) -> Tensor:
        """Of each pair by position ``[B]`` its one of ``values`` ``[n]``; -1 if not asked about."""
        if len(self.pairs) == 0:
            return torch.full_like(index, NO_ITEM)
        place = torch.searchsorted(self.pairs, index).clamp(max=len(self.pairs) - 1)
        return torch.where(self.pairs[place] == index, values[place], NO_ITEM)


class NamedNegatives:
    """Vectors of what was named, as a source of hard negatives; pairs without a name have none.

    Parameters
    ----------
    named
        The names.
    vectors
        Unit vectors, float32 ``[m, width]``: of the distinct names, or of all items.
    rows
        Row of each pair's vector, -1 for none, int64 ``[n]``.
    """

    def __init__(self, named: Named, vectors: Tensor, rows: Tensor) -> None:
        self._named, self._vectors, self._rows = named, vectors, rows

    @classmethod
    def as_named(cls, folder: Path, item_centre: Tensor) -> Self:
        """The text vectors of the names as they are, in the space of item vectors."""
        named = Named.load(folder)
        states = VectorTable.open(folder / NAME_STATES, mend="run `hnlmrec name`").read_all()
        return cls(named, F.normalize(states - item_centre, dim=1), named.rows)

    @classmethod
    def grounded(cls, folder: Path, item_vectors: Tensor) -> Self:
        """The text vectors of the items that the names mean."""
        named = Named.load(folder)
        return cls(named, item_vectors, named.items)

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of pairs, and which have one, see `HardNegativeSource`."""
        rows = self._named.find(index.cpu(), self._rows)
        present = rows >= 0
        found = torch.zeros(len(rows), self._vectors.shape[1])
        found[present] = self._vectors[rows[present]]
        return found.to(index.device), present.to(index.device)
