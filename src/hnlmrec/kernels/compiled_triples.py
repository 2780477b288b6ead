"""The compiled form of one step after another on one triple each; see `hnlmrec.kernels.epoch`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hnlmrec.kernels.compiled import FAST, SOON, ask_for
from hnlmrec.kernels.vectors import add_scaled, dot, load, scaled, store


def _products(width: int) -> Any:
    """Make the six inner products of three rows, of ``width`` of their columns."""

    @njit(nogil=True, fastmath=FAST, forceinline=True)
    def compute(table: Any, user: Any, item: Any, other: Any, column: Any) -> Any:
        u, i = load(table, user, column, width), load(table, item, column, width)
        j = load(table, other, column, width)
        return dot(u, i), dot(u, j), dot(i, j), dot(u, u), dot(i, i), dot(j, j)

    return compute


def _move(width: int) -> Any:
    """Make the move of three rows against their gradients, of ``width`` of their columns."""

    @njit(nogil=True, fastmath=FAST, forceinline=True)
    def move(
        table: Any, user: Any, item: Any, other: Any, column: Any, slope: Any, l2: Any,
        rates: Any,
    ) -> None:  # fmt: skip
        one, pulls = np.float32(1), (rates[0] * slope, rates[1] * slope, rates[2] * slope)
        u, i = load(table, user, column, width), load(table, item, column, width)
        j = load(table, other, column, width)
        to_item = add_scaled(scaled(u, one - rates[0] * l2), pulls[0], i)
        store(table, user, column, add_scaled(to_item, -pulls[0], j))
        store(table, item, column, add_scaled(scaled(i, one - rates[1] * l2), pulls[1], u))
        store(table, other, column, add_scaled(scaled(j, one - rates[2] * l2), -pulls[2], u))

    return move


_products16, _products1 = (_products(width) for width in (16, 1))
_move16, _move1 = (_move(width) for width in (16, 1))


@njit(nogil=True, fastmath=FAST, forceinline=True)
def _all_products(table: Any, user: Any, item: Any, other: Any) -> Any:
    """``(u.i, u.j, i.j, u.u, i.i, j.j)`` of three rows."""
    dim, column = table.shape[1], 0
    ui = uj = ij = uu = ii = jj = np.float32(0)
    while column < dim:
        if column + 16 <= dim:
            part = _products16(table, user, item, other, column)
            column += 16
        else:
            part = _products1(table, user, item, other, column)
            column += 1
        ui, uj, ij = ui + part[0], uj + part[1], ij + part[2]
        uu, ii, jj = uu + part[3], ii + part[4], jj + part[5]
    return ui, uj, ij, uu, ii, jj


@njit(nogil=True, fastmath=FAST, forceinline=True)
def _move_all(
    table: Any, user: Any, item: Any, other: Any, slope: Any, l2: Any, rates: Any
) -> None:
    """All columns of `_move`."""
    dim, column = table.shape[1], 0
    while column + 16 <= dim:
        _move16(table, user, item, other, column, slope, l2, rates)
        column += 16
    while column < dim:
        _move1(table, user, item, other, column, slope, l2, rates)
        column += 1


@njit(nogil=True, fastmath=FAST, error_model="numpy", cache=True)
def bpr_triples(
    users: Any, positives: Any, negatives: Any, shift: int, l2: Any, table: Any, squares: Any,
    rate: Any, epsilon: Any,
) -> tuple[float, float]:  # fmt: skip
    """Row-wise Adagrad on a triple at a time; BPR and L2, each summed over the triples.

    The squared norm of each row's gradient follows from inner products of the three rows, so no
    gradient is ever written.
    """
    none, one, two = np.float32(0), np.float32(1), np.float32(2)
    dim = np.float32(table.shape[1])
    final, ranking, norms = len(users) - 1, 0.0, 0.0
    for b in range(len(users)):
        soon = min(b + SOON, final)
        ask_for(table, users[soon])
        ask_for(table, positives[soon] + shift)
        user, item = users[b], positives[b] + shift
        for k in range(negatives.shape[1]):
            ask_for(table, negatives[soon, k] + shift)
            other = negatives[b, k] + shift
            ui, uj, ij, uu, ii, jj = _all_products(table, user, item, other)
            # the slope of log(1 + exp(-x)), from exp(-|x|) so that nothing overflows
            difference = ui - uj
            small = np.exp(-abs(difference))
            slope = (small if difference > 0 else one) / (one + small)
            ranking += max(-difference, none) + np.log(one + small)
            norms += l2 / two * (uu + ii + jj)
            steep, both, own = slope * slope, two * slope * l2, l2 * l2
            # rounding could make a sum of squares a little less than none
            of_user = steep * (ii + jj - two * ij) - both * difference + own * uu
            squares[user] += max(of_user, none) / dim
            squares[item] += max(steep * uu - both * ui + own * ii, none) / dim
            squares[other] += max(steep * uu + both * uj + own * jj, none) / dim
            rates = (
                rate / (np.sqrt(squares[user]) + epsilon),
                rate / (np.sqrt(squares[item]) + epsilon),
                rate / (np.sqrt(squares[other]) + epsilon),
            )
            _move_all(table, user, item, other, slope, l2, rates)
    return ranking, norms
