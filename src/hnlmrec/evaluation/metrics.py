"""Metrics of a ranking with binary relevance, one row a user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

from hnlmrec.evaluation.membership import contains

METRICS = ("recall", "ndcg", "hr", "precision", "mrr")


def per_user(
    ranking: npt.NDArray[np.integer],
    relevant: sp.csr_array,
    users: npt.NDArray[np.integer],
    cutoffs: Sequence[int],
) -> pl.DataFrame:
    """Measure the ranking of each user.

    With ``h_r`` 1 if the item at rank ``r`` is relevant, else 0, ``R`` the number of the user's
    relevant items, and all sums over ``r = 1..k``:

    - ``recall@k = sum h_r / R``
    - ``ndcg@k = sum h_r / log2(r + 1)``, divided by its largest value, which has the first
      ``min(R, k)`` ranks relevant (Järvelin and Kekäläinen, 2002)
    - ``hr@k`` is 1 if any ``h_r`` is 1
    - ``precision@k = sum h_r / k``, also where fewer than ``k`` items can be ranked
    - ``mrr@k`` is 1 over the rank of the first relevant item, 0 without one

    Parameters
    ----------
    ranking
        Items, best first, int ``[n, K]``; -1 is no item.
    relevant
        CSR ``[n_users, n_items]`` with sorted indices.
    users
        The user of each ranking, ``[n]``.
    cutoffs
        The values of ``k``, each at most ``K``.

    Returns
    -------
    DataFrame
        Columns ``user``, ``n_relevant`` and ``METRIC@k``; a row for each of ``users`` with at least
        one relevant item, in their order.

    Raises
    ------
    ValueError
        If the rankings are shorter than a cutoff.
    """
    if max(cutoffs) > ranking.shape[1]:
        raise ValueError(f"cutoff {max(cutoffs)} of rankings of length {ranking.shape[1]}")
    n_relevant = np.diff(relevant.indptr)[users]
    ranking, users = ranking[n_relevant > 0], users[n_relevant > 0]
    n_relevant = n_relevant[n_relevant > 0]

    hits = contains(relevant, users[:, None], ranking)
    ranks = np.arange(1, ranking.shape[1] + 1)
    n_hits = hits.cumsum(axis=1)
    gain = (hits / np.log2(ranks + 1)).cumsum(axis=1)
    ideal = (1 / np.log2(ranks + 1)).cumsum()
    reciprocal = np.maximum.accumulate(hits / ranks, axis=1)
    columns = {}
    for k in cutoffs:
        columns[f"recall@{k}"] = n_hits[:, k - 1] / n_relevant
        columns[f"ndcg@{k}"] = gain[:, k - 1] / ideal[np.minimum(n_relevant, k) - 1]
        columns[f"hr@{k}"] = (n_hits[:, k - 1] > 0).astype(np.float64)
        columns[f"precision@{k}"] = n_hits[:, k - 1] / k
        columns[f"mrr@{k}"] = reciprocal[:, k - 1]
    order = [f"{metric}@{k}" for metric in METRICS for k in cutoffs]
    frame = pl.DataFrame({"user": users, "n_relevant": n_relevant, **columns})
    return frame.select(pl.col("user", "n_relevant").cast(pl.Int32), *order)


def hits(
    ranking: npt.NDArray[np.integer], relevant: sp.csr_array, users: npt.NDArray[np.integer]
) -> pl.DataFrame:
    """Where the relevant items stand in the rankings.

    Parameters
    ----------
    ranking, relevant, users
        As in `per_user`.

    Returns
    -------
    DataFrame
        Columns ``user``, ``item`` and ``rank`` (from 1), int32: a row a relevant item that is
        ranked. With the relevant items themselves, all metrics of any group of items follow.
    """
    row, column = np.nonzero(contains(relevant, users[:, None], ranking))
    found = {"user": users[row], "item": ranking[row, column], "rank": column + 1}
    return pl.DataFrame(found).cast(pl.Int32)
