"""Compiled loops that read rows of packed numbers as float32; see `hnlmrec.kernels.gather`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hnlmrec.kernels.compiled import FAST, U

_SIGN, _REST, _UP, _BITS = np.uint32(0x8000), np.uint32(0x7FFF), np.uint32(16), np.uint32(13)
_REBASE = np.float32(2.0**112)  # from the exponents of float16 to those of float32


@njit(nogil=True, fastmath=FAST, cache=True)
def gather_halves(
    start: int, stop: int, table: Any, rows: Any, places: Any, out: Any, out_bits: Any
) -> None:
    """``out[places[b]] = table[rows[b]]``; the table is the bits of finite float16 numbers."""
    for b in range(U(start), U(stop)):
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
    for b in range(U(start), U(stop)):
        source, target, scale = table[rows[b]], out[places[b]], scales[rows[b]]
        for d in range(len(source)):
            target[d] = scale * np.float32(source[d])
