"""`Picks`: a favourite and a least liked item of some users, as the stage `pick` wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from hnlmrec.artifacts import reading

PICKS = "picks.parquet"
NOBODY = -1


@dataclass(frozen=True, eq=False)
class Picks:
    """One item that a user would like best and one least, of some candidates.

    Parameters
    ----------
    favourite, least
        By user, int64 ``[n_users]``; -1 for users without.
    """

    favourite: Tensor
    least: Tensor

    @classmethod
    def load(cls, folder: Path, n_users: int) -> Self:
        """Read what `hnlmrec.baselines.picking.pick` wrote; an ArtifactError if it cannot."""
        with reading("the picks", folder / PICKS, "hnlmrec pick"):
            frame = pl.read_parquet(folder / PICKS, columns=["user", "favourite", "least"])
        columns = np.full((2, n_users), NOBODY, dtype=np.int64)
        columns[:, frame["user"]] = frame["favourite"], frame["least"]
        return cls(*map(torch.from_numpy, columns))

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""
        return type(self)(self.favourite.to(device), self.least.to(device))
