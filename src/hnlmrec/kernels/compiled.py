"""Loops that numba compiles for CPUs; `hnlmrec.kernels` says what each computes.

Each works on a range ``start`` to ``stop`` of what it writes: rows of the output, or columns where
rows collide. So results do not depend on how many threads share the ranges out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hnlmrec.kernels.vectors import add_scaled, dot, load, prefetch, scaled, store

# reductions may be reordered for vector instructions; infinities and NaN keep their meaning
FAST = {"reassoc", "contract", "nsz", "arcp"}
# numba wraps signed indices around as Python does, which costs as much as the index itself
U = np.uint64
# rows asked for before they are read: those of a product, and those that are read once
_AHEAD, SOON = U(16), 8
_LARGE = 1e200  # products below cannot overflow by one more factor
_COUNTED = 16  # numbers whose count costs no more than a step or two of a search
_LOW, _32 = U(0xFFFFFFFF), U(32)


def _row_product(width: int) -> Any:
    """Make the loop over the edges of a row, for ``width`` of its columns.

    ``out[place] = scale * (before * plus[row] + sum of values[edge] * x[indices[edge]])``.
    """

    @njit(nogil=True, fastmath=FAST)
    def compute(
        row: Any, place: Any, column: Any, first: Any, last: Any, indices: Any, values: Any, x: Any,
        plus: Any, before: Any, scale: Any, out: Any,
    ) -> None:  # fmt: skip
        total = scaled(load(plus, row, column, width), before)
        final = U(len(indices) - 1)
        for edge in range(U(first), U(last)):
            prefetch(x, indices[min(edge + _AHEAD, final)], column, width)
            total = add_scaled(total, values[edge], load(x, indices[edge], column, width))
        store(out, place, column, scaled(total, scale))

    return compute


_product64, _product16, _product1 = (_row_product(width) for width in (64, 16, 1))


@njit(nogil=True, fastmath=FAST)
def whole_row_product(
    row: Any, place: Any, first: Any, last: Any, indices: Any, values: Any, x: Any, plus: Any,
    before: Any, scale: Any, out: Any,
) -> None:  # fmt: skip
    """All columns of `_row_product`."""
    dim, column = x.shape[1], 0
    while column + 64 <= dim:
        _product64(row, place, column, first, last, indices, values, x, plus, before, scale, out)
        column += 64
    while column + 16 <= dim:
        _product16(row, place, column, first, last, indices, values, x, plus, before, scale, out)
        column += 16
    while column < dim:
        _product1(row, place, column, first, last, indices, values, x, plus, before, scale, out)
        column += 1


@njit(nogil=True, fastmath=FAST, cache=True)
def propagate(
    start: int, stop: int, indptr: Any, indices: Any, values: Any, x: Any, plus: Any, scale: Any,
    out: Any,
) -> None:  # fmt: skip
    """Rows of ``out = scale * (plus + A x)``."""
    for row in range(U(start), U(stop)):
        first, last = indptr[row], indptr[row + U(1)]
        whole_row_product(
            row, row, first, last, indices, values, x, plus, np.float32(1), scale, out
        )


@njit(nogil=True, fastmath=FAST, forceinline=True)
def inner(left: Any, row: Any, right: Any, other: Any) -> Any:
    """``left[row] . right[other]``."""
    dim, column, total = left.shape[1], 0, np.float32(0)
    while column + 64 <= dim:
        total += dot(load(left, row, column, 64), load(right, other, column, 64))
        column += 64
    while column + 16 <= dim:
        total += dot(load(left, row, column, 16), load(right, other, column, 16))
        column += 16
    while column < dim:
        total += left[row, column] * right[other, column]
        column += 1
    return total


@njit(nogil=True, fastmath=FAST, forceinline=True)
def ask_for(table: Any, row: Any) -> None:
    """Prefetch a row."""
    dim, column = table.shape[1], 0
    while column + 64 <= dim:
        prefetch(table, row, column, 64)
        column += 64
    while column < dim:
        prefetch(table, row, column, 16)
        column += 16


@njit(nogil=True, fastmath=FAST, cache=True)
def dot_pairs(
    start: int, stop: int, left: Any, right: Any, rows: Any, columns: Any, shift: int, out: Any
) -> None:
    """``out[b, k] = left[rows[b]] . right[columns[b, k] + shift]``."""
    n = columns.shape[1]
    flat, final = columns.reshape(-1), columns.size - 1
    for b in range(start, stop):
        ask_for(left, rows[min(b + SOON, len(rows) - 1)])
        for k in range(n):
            ask_for(right, flat[min(b * n + k + SOON, final)] + shift)
            out[b, k] = inner(left, rows[b], right, columns[b, k] + shift)


@njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def bpr_weights(
    start: int, stop: int, table: Any, rows: Any, columns: Any, shift: int, loss: Any, rest: Any,
    weights: Any,
) -> None:  # fmt: skip
    """BPR of each pair, ``loss + log(rest)``, and its gradient in the scores of `dot_pairs`."""
    n = columns.shape[1] - 1
    scale = np.float32(1 / (n * len(rows)))
    dot_pairs(start, stop, table, table, rows, columns, shift, weights)
    for b in range(start, stop):
        lost, pull, product = np.float32(0), np.float32(0), 1.0
        for k in range(1, n + 1):
            difference = weights[b, k] - weights[b, 0]
            # log(1 + exp(x)) and its slope, from exp(-|x|) so that nothing overflows
            small = np.exp(-abs(difference))
            lost += max(difference, np.float32(0))
            # logarithms of products are fewer, and all of them together are vector instructions
            product *= 1.0 + small
            if product > _LARGE:
                lost += np.log(product)
                product = 1.0
            slope = (np.float32(1) if difference > 0 else small) / (np.float32(1) + small)
            weights[b, k] = scale * slope
            pull += scale * slope
        weights[b, 0] = -pull
        loss[b], rest[b] = lost, product


@njit(nogil=True, fastmath=FAST, cache=True)
def spread_pairs(
    start: int, stop: int, left: Any, right: Any, rows: Any, columns: Any, shift: int,
    weights: Any, left_sum: Any, right_sum: Any,
) -> None:  # fmt: skip
    """The gradient of `dot_pairs`: ``weights`` times the other row, summed up where rows repeat."""
    for b in range(len(rows)):
        row = rows[b]
        mine, sum_mine = left[row, start:stop], left_sum[row, start:stop]
        for k in range(columns.shape[1]):
            column, weight = columns[b, k] + shift, weights[b, k]
            other, sum_other = right[column, start:stop], right_sum[column, start:stop]
            for d in range(stop - start):
                sum_mine[d] += weight * other[d]
            for d in range(stop - start):
                sum_other[d] += weight * mine[d]


@njit(nogil=True, fastmath=FAST, cache=True)
def square_rows(start: int, stop: int, table: Any, rows: Any, out: Any) -> None:
    """``out[b] = |table[rows[b]]|^2``."""
    for b in range(start, stop):
        row = rows[b]
        total = np.float32(0)
        for d in range(table.shape[1]):
            total += table[row, d] * table[row, d]
        out[b] = total


@njit(nogil=True, fastmath=FAST, cache=True)
def spread_rows(start: int, stop: int, table: Any, rows: Any, weight: Any, total: Any) -> None:
    """``total[rows[b]] += weight * table[rows[b]]`` for all ``b``, repeats included."""
    for b in range(len(rows)):
        source, sum_row = table[rows[b], start:stop], total[rows[b], start:stop]
        for d in range(stop - start):
            sum_row[d] += weight * source[d]


@njit(cache=True)
def _mixed(counter: Any) -> Any:
    """SplitMix64 (Steele, Lea and Flood, 2014): the ``counter``-th number of a stream."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(inline="always")
def _at_most(ordered: Any, limit: Any) -> Any:
    """How many of ``ordered`` are at most ``limit``.

    Binary search without branches, which would be guessed wrong half of the time, down to as many
    as are counted at once by vector instructions.
    """
    start, left = 0, len(ordered)
    while left > _COUNTED:
        half = left >> 1
        start += half * (ordered[start + half - 1] <= limit)
        left -= half
    total = np.int32(0)
    for value in ordered[start : start + left]:
        total += np.int32(value <= limit)
    return start + total


@njit(nogil=True, cache=True)
def draw_free(
    start: int, stop: int, seed: Any, users: Any, indptr: Any, free_before: Any, n_items: int,
    out: Any,
) -> None:  # fmt: skip
    """Draw un-interacted items of each user; see `hnlmrec.negatives.uninteracted`."""
    n = out.shape[1]
    for b in range(start, stop):
        first, last = indptr[users[b]], indptr[users[b] + 1]
        n_free = np.uint64(n_items - (last - first))
        for k in range(n):
            bits = _mixed(seed + np.uint64(b * n + k))
            # the high 64 bits of bits * n_free: uniform up to n_free / 2**64
            low = ((bits & _LOW) * n_free) >> _32
            place = np.int64(((bits >> _32) * n_free + low) >> _32)
            passed = _at_most(free_before[first:last], np.int32(place))
            out[b, k] = place + passed


@njit(nogil=True, cache=True)
def chain_places(pool: Any, first: Any, following: Any) -> None:
    """The places of each item: ``first[item]``, and ``following[place]``; -1 when no more."""
    for place in range(len(pool)):
        item = pool[place]
        following[place] = first[item]
        first[item] = place


@njit(nogil=True, cache=True)
def mark_interacted(
    start: int, stop: int, users: Any, indptr: Any, items: Any, first: Any, following: Any,
    out: Any,
) -> None:  # fmt: skip
    """Mark the places of a pool that hold training items of each user; see `chain_places`."""
    for b in range(start, stop):
        user = users[b]
        for edge in range(indptr[user], indptr[user + 1]):
            place = first[items[edge]]
            while place >= 0:
                out[b, place] = True
                place = following[place]
