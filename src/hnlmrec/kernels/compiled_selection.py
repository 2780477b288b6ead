"""The compiled form of `hnlmrec.kernels.selection`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hnlmrec.kernels.vectors import above, lowest


@njit(nogil=True)
def _insert(values: Any, columns: Any, value: Any, column: Any) -> None:
    """Put a column in its place, after those of equal value; the last one drops out."""
    place = len(values) - 1
    while place > 0 and values[place - 1] < value:
        values[place], columns[place] = values[place - 1], columns[place - 1]
        place -= 1
    values[place], columns[place] = value, column


@njit(nogil=True, cache=True)
def top_columns(start: int, stop: int, scores: Any, out: Any) -> None:
    """The best columns of each row; few numbers are above the worst of the best so far."""
    n, k = scores.shape[1], out.shape[1]
    values = np.empty(k, dtype=np.float32)
    for b in range(start, stop):
        columns = out[b]
        values[:], columns[:] = -np.inf, -1
        first = 0
        while first + 64 <= n:
            bits = above(scores, b, first, values[k - 1])
            while bits:
                found = first + np.int64(lowest(bits))
                bits &= bits - np.uint64(1)
                if scores[b, found] > values[k - 1]:
                    _insert(values, columns, scores[b, found], found)
            first += 64
        for column in range(first, n):
            if scores[b, column] > values[k - 1]:
                _insert(values, columns, scores[b, column], column)
