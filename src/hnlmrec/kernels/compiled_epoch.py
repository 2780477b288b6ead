"""The compiled form of many steps of matrix factorisation; see `hnlmrec.kernels.epoch`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hnlmrec.kernels.compiled import bpr_weights, draw_free
from hnlmrec.kernels.compiled_batch import adam_rows, batch_graph, batch_own_product


@njit(nogil=True, cache=True)
def bpr_steps(
    users: Any, positives: Any, batch_size: int, seeds: Any, rates: Any, n_negatives: int,
    indptr: Any, free_before: Any, n_items: int, shift: int, l2: float, table: Any, mean: Any,
    square: Any, keep_mean: Any, keep_square: Any, epsilon: Any, ranking: Any, norms: Any,
) -> None:  # fmt: skip
    """One batch after another: negatives, scores, gradient, and Adam on its rows."""
    n_touches, n_edges = batch_size * (2 + n_negatives), 2 * batch_size * (1 + n_negatives)
    items = np.empty((batch_size, n_negatives), dtype=np.int64)
    all_columns = np.empty((batch_size, 1 + n_negatives), dtype=np.int64)
    all_weights = np.empty((batch_size, 1 + n_negatives), dtype=np.float32)
    all_loss, all_rest = np.empty(batch_size, dtype=np.float32), np.empty(batch_size)
    place = np.full(len(table), -1, dtype=np.int32)
    touched = np.empty(n_touches, dtype=np.int64)
    counts = np.empty(n_touches, dtype=np.int32)
    borders = np.empty(n_touches + 1, dtype=np.int32)
    others = np.empty(n_edges, dtype=np.int32)
    values = np.empty(n_edges, dtype=np.float32)
    gradient = np.empty((n_touches, table.shape[1]), dtype=np.float32)
    squares = np.empty(n_touches, dtype=np.float32)
    for batch in range(len(seeds)):
        start = batch * batch_size
        rows = users[start : start + batch_size]
        size = len(rows)
        draw_free(0, size, seeds[batch], rows, indptr, free_before, n_items, items)
        columns, weights = all_columns[:size], all_weights[:size]
        columns[:, 0] = positives[start : start + size]
        columns[:, 1:] = items[:size]
        loss, rest = all_loss[:size], all_rest[:size]
        bpr_weights(0, size, table, rows, columns, shift, loss, rest, weights)
        edges, its_values = others[: 2 * columns.size], values[: 2 * columns.size]
        n = batch_graph(
            rows, columns, shift, weights, place, touched, counts, borders, edges, its_values
        )
        own = np.float32(l2 / size)
        batch_own_product(
            0, n, touched, counts, own, borders, edges, its_values, table, gradient, squares
        )
        adam_rows(
            0, n, touched[:n], table, gradient, mean, square,
            rates[batch], keep_mean, keep_square, epsilon,
        )  # fmt: skip
        ranking[batch] = (loss.sum() + np.log(rest).sum()) / (size * n_negatives)
        norms[batch] = own / 2 * squares[:n].sum()
