"""Which item of the catalogue a name means: by title, by similar title, by nearness in meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.errors import ConfigError

_CHUNK = 256
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

    items: npt.NDArray[np.int64]
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
    how = [TITLE if item >= 0 else NOTHING for item in items]
    todo = np.array([place for place, item in enumerate(items) if item < 0 and asked[place]])
    for start in range(0, len(todo), _CHUNK):
        places = todo[start : start + _CHUNK]
        ratios = _ratios([asked[place] for place in places], known, min_ratio)
        best = ratios.argmax(axis=1)
        for place, item, ratio in zip(places, best, ratios.max(axis=1), strict=True):
            if ratio >= min_ratio:
                items[place], how[place] = item, SIMILAR
    if vectors is not None and len(names):
        centre = vectors[1].mean(dim=0)
        of_names, of_titles = (F.normalize(part - centre, dim=1) for part in vectors)
        for start in range(0, len(names), _CHUNK):
            cosines, best_items = (of_names[start : start + _CHUNK] @ of_titles.T).max(dim=1)
            for offset, (cosine, item) in enumerate(
                zip(cosines.tolist(), best_items.tolist(), strict=True)
            ):
                place = start + offset
                if items[place] < 0 and asked[place] and cosine >= min_cosine:
                    items[place], how[place] = item, MEANING
    return Grounding(items, how)


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
