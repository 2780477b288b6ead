"""Compiled loops for the gradient of a batch (`hnlmrec.kernels.batch`) and for Adam."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hnlmrec.kernels.compiled import FAST, SOON, U, ask_for, inner, whole_row_product
from hnlmrec.kernels.vectors import add_scaled, load, over_root, scaled, store, times


@njit(nogil=True, cache=True)
def batch_graph(
    rows: Any, columns: Any, shift: int, weights: Any, place: Any, touched: Any, counts: Any,
    indptr: Any, others: Any, values: Any,
) -> int:  # fmt: skip
    """The symmetric graph of the pairs of a batch; see `hnlmrec.kernels.batch.BatchGraph`.

    Returns the number of rows that it touches. ``place`` is -1 everywhere, before and after.
    """
    n_columns, n = columns.shape[1], 0
    for b in range(len(rows)):
        for k in range(-1, n_columns):
            row = rows[b] if k < 0 else columns[b, k] + shift
            if place[row] < 0:
                place[row] = n
                touched[n], counts[n] = row, 0
                n += 1
                indptr[n] = 0
            counts[place[row]] += 1
            indptr[place[row] + 1] += n_columns if k < 0 else 1
    # indptr[i + 1] is where the edges of i begin until they are filled in, then where they end
    indptr[0], total = 0, 0
    for i in range(1, n + 1):
        degree = indptr[i]
        indptr[i] = total
        total += degree
    for b in range(len(rows)):
        for k in range(n_columns):
            row, other = rows[b], columns[b, k] + shift
            for mine, its in ((row, other), (other, row)):
                edge = indptr[place[mine] + 1]
                others[edge], values[edge] = its, weights[b, k]
                indptr[place[mine] + 1] = edge + 1
    for i in range(n):
        place[touched[i]] = -1
    return n


@njit(nogil=True, fastmath=FAST, cache=True)
def batch_product(
    start: int, stop: int, touched: Any, indptr: Any, others: Any, values: Any, x: Any, out: Any
) -> None:
    """The product of `batch_graph` with ``x``, in the touched rows of ``out``."""
    for i in range(U(start), U(stop)):
        whole_row_product(
            touched[i], touched[i], indptr[i], indptr[i + U(1)], others, values, x, x,
            np.float32(0), np.float32(1), out,
        )  # fmt: skip


@njit(nogil=True, fastmath=FAST, cache=True)
def batch_own_product(
    start: int, stop: int, touched: Any, counts: Any, weight: Any, indptr: Any, others: Any,
    values: Any, x: Any, out: Any, squares: Any,
) -> None:  # fmt: skip
    """`batch_product` and `add_own_rows` of the same table, into row ``i`` of ``out``."""
    for i in range(U(start), U(stop)):
        row, count = touched[i], np.float32(counts[i])
        whole_row_product(
            row, i, indptr[i], indptr[i + U(1)], others, values, x, x, weight * count,
            np.float32(1), out,
        )  # fmt: skip
        squares[i] = count * inner(x, row, x, row)


@njit(nogil=True, fastmath=FAST, cache=True)
def add_own_rows(
    start: int, stop: int, touched: Any, counts: Any, weight: Any, table: Any, total: Any,
    squares: Any,
) -> None:  # fmt: skip
    """``total[row] += weight * count * table[row]``; ``squares = count * |table[row]|^2``."""
    for i in range(start, stop):
        row, count = touched[i], np.float32(counts[i])
        mine, sum_row = table[row], total[row]
        for d in range(len(mine)):
            sum_row[d] += weight * count * mine[d]
        squares[i] = count * inner(table, row, table, row)


def _row_adam(width: int) -> Any:
    """Make Adam's rule for ``width`` columns of a row."""

    @njit(nogil=True)
    def move(
        row: Any, place: Any, column: Any, table: Any, gradient: Any, mean: Any, square: Any,
        rate: Any, keep_mean: Any, keep_square: Any, epsilon: Any,
    ) -> None:  # fmt: skip
        one = np.float32(1)
        g = load(gradient, place, column, width)
        m = add_scaled(scaled(load(mean, row, column, width), keep_mean), one - keep_mean, g)
        v = scaled(load(square, row, column, width), keep_square)
        v = add_scaled(v, one - keep_square, times(g, g))
        x = load(table, row, column, width)
        store(mean, row, column, m)
        store(square, row, column, v)
        store(table, row, column, add_scaled(x, -rate, over_root(m, v, epsilon)))

    return move


_adam16, _adam1 = (_row_adam(width) for width in (16, 1))


@njit(nogil=True, cache=True)
def adam_rows(
    start: int, stop: int, rows: Any, table: Any, gradient: Any, mean: Any, square: Any,
    rate: Any, keep_mean: Any, keep_square: Any, epsilon: Any,
) -> None:  # fmt: skip
    """Adam on some rows of a table; ``gradient[b]`` is that of ``rows[b]``."""
    dim = table.shape[1]
    for b in range(U(start), U(stop)):
        soon = rows[min(b + U(SOON), U(len(rows) - 1))]
        for one_of_three in (table, mean, square):
            ask_for(one_of_three, soon)
        column = 0
        while column + 16 <= dim:
            _adam16(
                rows[b], b, column, table, gradient, mean, square,
                rate, keep_mean, keep_square, epsilon,
            )  # fmt: skip
            column += 16
        while column < dim:
            _adam1(
                rows[b], b, column, table, gradient, mean, square,
                rate, keep_mean, keep_square, epsilon,
            )  # fmt: skip
            column += 1
