"""`Interactions` and `ItemTexts`: what every later stage knows of the data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from hnlmrec.artifacts import reading

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")
TEXT_FIELDS = ("title", "brand", "categories", "description")
# the title of an item that has no text at all
NO_TEXT = "(no text)"
IntArray = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Interactions:
    """Implicit feedback in three disjoint parts, with the users' and items' own ids.

    Parameters
    ----------
    user_ids, item_ids
        Ids as strings; the position is the index used everywhere else.
    train, valid, test
        CSR of shape ``[n_users, n_items]``, float32 ones, sorted column indices.
    """

    user_ids: pl.Series
    item_ids: pl.Series
    train: sp.csr_array
    valid: sp.csr_array
    test: sp.csr_array

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    def part(self, split: Split) -> sp.csr_array:
        """The CSR of one part."""
        matrix: sp.csr_array = getattr(self, split)
        return matrix

    def pairs(self, split: Split = "train") -> tuple[IntArray, IntArray]:
        """The users and items of a part, each int32 ``[n_pairs]``, sorted by user, then item."""
        matrix = self.part(split)
        users = np.repeat(np.arange(self.n_users, dtype=np.int32), np.diff(matrix.indptr))
        return users, matrix.indices.astype(np.int32, copy=False)

    @classmethod
    def from_pairs(
        cls,
        user_ids: pl.Series,
        item_ids: pl.Series,
        users: IntArray,
        items: IntArray,
        split: IntArray,
    ) -> Self:
        """Build from index pairs; ``split`` holds 0 (train), 1 (valid), 2 (test) for each pair."""
        shape = (len(user_ids), len(item_ids))
        return cls(
            user_ids.cast(pl.String),
            item_ids.cast(pl.String),
            *(to_csr(users[split == code], items[split == code], shape) for code in range(3)),
        )

    def save(self, folder: Path) -> None:
        """Write ``users.parquet``, ``item_ids.parquet`` and ``interactions.parquet``."""
        pl.DataFrame({"user_id": self.user_ids}).write_parquet(folder / "users.parquet")
        pl.DataFrame({"item_id": self.item_ids}).write_parquet(folder / "item_ids.parquet")
        frames = []
        for code, split in enumerate(SPLITS):
            users, items = self.pairs(split)
            frames.append(
                pl.DataFrame({"user": users, "item": items}).with_columns(
                    split=pl.lit(code, dtype=pl.Int8)
                )
            )
        pl.concat(frames).write_parquet(folder / "interactions.parquet")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        with reading("the prepared data", folder, "hnlmrec prepare"):
            user_ids = pl.read_parquet(folder / "users.parquet")["user_id"]
            item_ids = pl.read_parquet(folder / "item_ids.parquet")["item_id"]
            frame = pl.read_parquet(folder / "interactions.parquet")
            columns = (frame[name].to_numpy() for name in ("user", "item", "split"))
            return cls.from_pairs(user_ids, item_ids, *columns)


@dataclass(frozen=True)
class ItemTexts:
    """What is written about items, by item index.

    Parameters
    ----------
    frame
        Columns ``title``, ``brand``, ``categories``, ``description``: plain unescaped text,
        ``""`` where there is none; row ``i`` is item ``i``.
    """

    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height

    def titles(self) -> list[str]:
        """The titles; an item without one is called by its other text, or `NO_TEXT`."""
        fallback = pl.concat_str(["brand", "categories"], separator=" ").str.strip_chars()
        best = (
            pl.when(pl.col("title") != "")
            .then("title")
            .when(fallback != "")
            .then(fallback)
            .otherwise(pl.lit(NO_TEXT))
        )
        return self.frame.select(best.alias("title"))["title"].to_list()

    def save(self, folder: Path) -> None:
        """Write ``item_texts.parquet``."""
        self.frame.write_parquet(folder / "item_texts.parquet")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        with reading("the item texts", folder, "hnlmrec prepare"):
            return cls(pl.read_parquet(folder / "item_texts.parquet"))


def to_csr(users: IntArray, items: IntArray, shape: tuple[int, int]) -> sp.csr_array:
    """A float32 CSR of ones at the given pairs, with sorted indices and no duplicates."""
    ones = np.ones(len(users), dtype=np.float32)
    matrix = sp.coo_array((ones, (users, items)), shape=shape).tocsr()
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
