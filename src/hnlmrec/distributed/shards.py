"""`Shard`: one of n parts of a stage, for any scheduler; the same on every machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from hnlmrec.errors import ConfigError

SHARDS = "shards"
_TEXT = re.compile(r"(\d+)/(\d+)")
_FOLDER = re.compile(r"(\d+)-of-(\d+)")


@dataclass(frozen=True, order=True)
class Shard:
    """Part ``number`` of ``of``, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``2/8``; raise a ConfigError where it is no such part."""
        found = _TEXT.fullmatch(text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(
                f"{text!r} is no shard",
                where="--shard",
                mend="the second of eight is 2/8, and the last one 8/8",
            )
        return cls(int(found[1]), int(found[2]))

    def folder(self, run: Path, stage: str) -> Path:
        """Where it writes its part of a stage."""
        return shards_folder(run, stage) / f"{self.number}-of-{self.of}"

    def owns(self, ids: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Whether each user's or item's own id is of this part: by a hash of it, and so for good.

        What is added to the data leaves the others where they are.
        """
        numbers = (hashlib.blake2b(one.encode(), digest_size=8).digest() for one in ids)
        parts = (int.from_bytes(number, "big") % self.of for number in numbers)
        return np.fromiter((part == self.number - 1 for part in parts), np.bool_)

    def rows(self, n: int, chunk: int) -> npt.NDArray[np.int64]:
        """The rows of this part out of ``n``: every ``of``-th chunk of ``chunk`` rows, ascending.

        By chunks, so that the model reads the batches that it reads when there are no parts.
        """
        starts = np.arange((self.number - 1) * chunk, n, self.of * chunk)
        rows = (starts[:, None] + np.arange(chunk)).ravel()
        return rows[rows < n]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def shards_folder(run: Path, stage: str) -> Path:
    """Where the parts of a stage are."""
    return run / SHARDS / stage.replace("/", "-")


def shards_in(folder: Path) -> list[Shard]:
    """The parts that have a folder in `shards_folder`, in order."""
    found = [_FOLDER.fullmatch(path.name) for path in folder.glob("*/")]
    return sorted(Shard(int(one[1]), int(one[2])) for one in found if one is not None)
