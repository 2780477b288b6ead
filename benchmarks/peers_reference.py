"""Plain references of `peers.py`: full ranking in a few lines, and memory's speed."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from peers_protocol import (
    CUTOFFS,
    METRIC_KEYS,
    USERS_AT_ONCE,
    Job,
    Line,
    Splits,
    load_factors,
    seconds,
    serve,
)

Hits = npt.NDArray[np.bool_]
K = max(CUTOFFS)


def matrix(pairs: npt.NDArray[np.int32], shape: tuple[int, int]) -> sp.csr_array:
    """A CSR of ones."""
    return sp.coo_array((np.ones(pairs.shape[1], np.float32), tuple(pairs)), shape=shape).tocsr()


def metrics(hits: Hits, n_relevant: npt.NDArray[np.int32]) -> Line:
    """Mean metrics of hits ``[n_users, K]`` in the order of ranks."""
    ranks = np.arange(1, K + 1)
    found = {}
    for k in CUTOFFS:
        top, gains = hits[:, :k], 1 / np.log2(ranks[:k] + 1)
        ideal = np.cumsum(gains)[np.minimum(n_relevant, k) - 1]
        found[f"recall@{k}"] = (top.sum(1) / n_relevant).mean()
        found[f"mrr@{k}"] = (top / ranks[:k]).max(1).mean()
        found[f"ndcg@{k}"] = (top @ gains / ideal).mean()
        found[f"hit@{k}"] = top.any(1).mean()
        found[f"precision@{k}"] = (top.sum(1) / k).mean()
    return {key: float(found[key]) for key in METRIC_KEYS}


def numpy_hits(
    users: np.ndarray, items: np.ndarray, known: sp.csr_array, test: sp.csr_array
) -> Hits:
    """Rank a chunk of users with NumPy."""
    scores = users @ items.T
    scores[known.nonzero()] = -np.inf
    top = np.argpartition(-scores, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1)
    ranking = np.take_along_axis(top, order, axis=1)
    return np.take_along_axis(test.toarray() > 0, ranking, axis=1)


def torch_hits(
    users: np.ndarray, items: np.ndarray, known: sp.csr_array, test: sp.csr_array
) -> Hits:
    """Rank a chunk of users with torch."""
    scores = torch.from_numpy(users) @ torch.from_numpy(items).T
    scores[tuple(map(torch.from_numpy, known.nonzero()))] = -torch.inf
    ranking = scores.topk(K, dim=1).indices
    return torch.from_numpy(test.toarray() > 0).gather(1, ranking).numpy()


def evaluate(job: Job, hits: Callable[..., Hits]) -> Line:
    """Time the full ranking of the test users and its metrics."""
    torch.set_num_threads(job.threads)
    splits = Splits.load(job.folder)
    users, items = load_factors(job.factors)
    test = matrix(splits.test, splits.shape)
    known = matrix(np.concatenate([splits.train, splits.valid], axis=1), splits.shape)
    tested = np.flatnonzero(np.diff(test.indptr))
    chunks = [tested[at : at + USERS_AT_ONCE] for at in range(0, len(tested), USERS_AT_ONCE)]
    found: Line = {}

    def run() -> None:
        rows = [hits(users[chunk], items, known[chunk], test[chunk]) for chunk in chunks]
        found.update(metrics(np.concatenate(rows), np.diff(test.indptr)[tested]))

    times = [seconds(run) for _ in range(job.repeats + 1)][1:]
    return {"users_per_second": len(tested) / statistics.median(times), "metrics": found}


def triad(job: Job) -> Line:
    """Measure memory as STREAM's triad does, on all cores: ``a = b + s * c`` beyond the caches."""
    torch.set_num_threads(os.cpu_count() or 1)
    a, b, c = (torch.ones(2**26) for _ in range(3))
    times = [seconds(lambda: torch.add(b, c, alpha=2, out=a)) for _ in range(job.repeats + 1)][1:]
    best = 3 * a.nbytes / min(times) / 1e9
    return {"gigabytes_per_second": best, "cores": os.cpu_count() or 1}


if __name__ == "__main__":
    serve(
        {
            "evaluate numpy": lambda job: evaluate(job, numpy_hits),
            "evaluate torch": lambda job: evaluate(job, torch_hits),
            "triad": triad,
        }
    )
