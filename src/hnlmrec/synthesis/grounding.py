"""Which item of the catalogue a name means: by title, by similar title, by nearness in meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.errors import ConfigError

_CHUNK = 256
Places = npt.NDArray[np.int64]
_YEAR = re.compile(r"\(\d{4}\)")
_NO_WORD = re.compile(r"[\W_]+")
TITLE, SIMILAR, MEANING, NOTHING = "title", "similar title", "meaning", "nothing"


@dataclass(frozen=True, eq=False)
class Grounding:
    """What each name was found to mean.

    Parameters
    ----------
    items
        int64 ``[n]``, -1 where nothing was found.
    how
        ``title``, ``similar title``, ``meaning`` or ``nothing``, a name.
    """

    items: Places
    how: list[str]


def ground(
    names: Sequence[str],
    titles: Sequence[str],
    min_ratio: float,
    vectors: tuple[Tensor, Tensor] | None,
    min_cosine: float,
) -> Grounding:
    """Find the item of each name: by title, then by similar title, then by text vectors.

    Parameters
    ----------
    names
        Distinct names, ``n``.
    titles
        Of all items; of several of one title, the first is found.
    min_ratio
        Least similarity of titles, up to 100, by letters once words are sorted.
    vectors
        Text vectors of names and titles, float ``[n, width]`` and ``[n_items, width]``; None
        leaves this way out.
    min_cosine
        Least cosine of vectors, each less the mean of the titles.
    """
    known = [simple(title) for title in titles]
    first = {title: item for item, title in reversed(list(enumerate(known)))}
    asked = [simple(name) for name in names]
    items = np.array([first.get(name, -1) if name else -1 for name in asked], dtype=np.int64)
    how = np.where(items >= 0, TITLE, NOTHING).astype(object)
    for places in _open(items, asked):
        ratios = _ratios([asked[place] for place in places], known, min_ratio)
        _settle(items, how, places, ratios, min_ratio, SIMILAR)
    if vectors is not None:
        centre = vectors[1].mean(dim=0)
        of_names, of_titles = (F.normalize(part - centre, dim=1) for part in vectors)
        for places in _open(items, asked):
            cosines = of_names[torch.from_numpy(places)] @ of_titles.T
            _settle(items, how, places, cosines.numpy(), min_cosine, MEANING)
    return Grounding(items, how.tolist())


def _open(items: Places, asked: list[str]) -> Iterator[Places]:
    """Places of the names that no item was found for, some at a time; those without words never."""
    places = np.flatnonzero((items < 0) & np.array([bool(name) for name in asked], dtype=bool))
    for start in range(0, len(places), _CHUNK):
        yield places[start : start + _CHUNK]


def _settle(
    items: Places,
    how: npt.NDArray[Any],
    places: Places,
    likeness: npt.NDArray[Any],
    least: float,
    way: str,
) -> None:
    """Give names the most alike item, where it is alike enough; ``likeness`` is a row a name."""
    enough = likeness.max(axis=1) >= least
    items[places[enough]] = likeness.argmax(axis=1)[enough]
    how[places[enough]] = way


def simple(title: str) -> str:
    """A title without year, punctuation and case."""
    return _NO_WORD.sub(" ", _YEAR.sub(" ", title)).strip().lower()


def _ratios(names: list[str], titles: list[str], least: float) -> npt.NDArray[Any]:
    """Similarity of each name to each title, ``[n, n_items]``; 0 below ``least``."""
    try:
        from rapidfuzz import fuzz, process
    except ImportError as error:
        raise ConfigError(
            "names are compared with titles by rapidfuzz, which is not installed",
            where="synthesis.route_a",
            mend='pip install "hnlmrec[llm]"',
        ) from error
    ratios: npt.NDArray[Any] = process.cdist(
        names, titles, scorer=fuzz.token_sort_ratio, score_cutoff=least, dtype=np.float32
    )
    return ratios
