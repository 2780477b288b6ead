"""Compiled loops that read rows of packed numbers as float32; see `hnlmrec.kernels.gather`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hnlmrec.kernels.compiled import FAST, U
from hnlmrec.kernels.vectors import prefetch

# rows ahead that are asked for; numbers in a cache line
_AHEAD, _HALVES, _BYTES = U(2), 32, 64
_SIGN, _REST, _UP, _BITS = np.uint32(0x8000), np.uint32(0x7FFF), np.uint32(16), np.uint32(13)
_REBASE = np.float32(2.0**112)  # from the exponents of float16 to those of float32


@njit(nogil=True, fastmath=FAST, cache=True)
def gather_halves(
    start: int, stop: int, table: Any, rows: Any, places: Any, out: Any, out_bits: Any
) -> None:
    """``out[places[b]] = table[rows[b]]``; the table is the bits of finite float16 numbers."""
    final = U(len(rows) - 1)
    for b in range(U(start), U(stop)):
        soon = rows[min(b + _AHEAD, final)]
        for column in range(0, table.shape[1], _HALVES):
            prefetch(table, soon, column, 1)
        source, bits, target = table[rows[b]], out_bits[places[b]], out[places[b]]
        for d in range(len(source)):
            half = np.uint32(source[d])
            bits[d] = ((half & _REST) << _BITS) | ((half & _SIGN) << _UP)
        for d in range(len(source)):
            target[d] *= _REBASE


@njit(nogil=True, fastmath=FAST, cache=True)
def gather_bytes(
    start: int, stop: int, table: Any, scales: Any, rows: Any, places: Any, out: Any
) -> None:
    """``out[places[b]] = scales[rows[b]] * table[rows[b]]``; the table is int8."""
    final = U(len(rows) - 1)
    for b in range(U(start), U(stop)):
        soon = rows[min(b + _AHEAD, final)]
        for column in range(0, table.shape[1], _BYTES):
            prefetch(table, soon, column, 1)
        source, target, scale = table[rows[b]], out[places[b]], scales[rows[b]]
        for d in range(len(source)):
            target[d] = scale * np.float32(source[d])
