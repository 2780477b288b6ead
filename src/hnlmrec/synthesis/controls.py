"""Control sources: what takes the place of synthesised negatives to test that they matter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.negatives.semantic import HardNegativeSource

_NOISE_ROWS = 65_536


class Noise:
    """Random unit vectors; a pair has the same one in every epoch.

    Pairs share a table of 65,536 vectors, so that memory does not grow with interactions.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        self._table = F.normalize(torch.randn(_NOISE_ROWS, width, generator=generator), dim=-1)

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """A vector for every pair, see `HardNegativeSource`."""
        rows = self._table[index.cpu() % _NOISE_ROWS].to(index.device)
        return rows, torch.ones_like(index, dtype=torch.bool)


class Shuffled:
    """Each pair gets the synthesised negative of another pair, the same in every epoch."""

    def __init__(
        self, source: HardNegativeSource, n_pairs: int, generator: torch.Generator
    ) -> None:
        self._source = source
        self._order = torch.randperm(n_pairs, generator=generator)

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The vector of another pair, see `HardNegativeSource`."""
        vectors, present = self._source.vectors(self._order[index.cpu()])
        return vectors.to(index.device), present.to(index.device)


def build_source(
    name: str,
    given: HardNegativeSource | None,
    width: int,
    n_pairs: int,
    generator: torch.Generator,
) -> HardNegativeSource:
    """The source that ``sampler.source`` names, made from what the language stages give."""
    if name == "noise":
        return Noise(width, generator)
    assert given is not None
    return Shuffled(given, n_pairs, generator) if name == "shuffled" else given
