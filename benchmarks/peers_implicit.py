"""implicit's side of `peers.py`: its BPR."""

from __future__ import annotations

import implicit
import numpy as np
import scipy.sparse as sp
from implicit.cpu.bpr import BayesianPersonalizedRanking
from threadpoolctl import threadpool_limits

from peers_protocol import Job, Line, Splits, epoch_times, save_factors, serve


def train(job: Job) -> Line:
    """Take the epochs' times from implicit's own callback, and export the factors.

    The last column of the users' factors is 1 and that of the items' their bias, so that inner
    products are its scores.
    """
    splits = Splits.load(job.folder)
    ones = np.ones(splits.train.shape[1], dtype=np.float32)
    train = sp.csr_matrix((ones, tuple(splits.train)), shape=splits.shape)
    rate = {} if job.lr is None else {"learning_rate": job.lr}
    model = BayesianPersonalizedRanking(
        factors=job.dim,
        iterations=job.epochs,
        num_threads=job.threads,
        random_state=job.seed,
        **rate,
    )
    times: list[float] = []
    with threadpool_limits(1, "blas"):  # as implicit advises: its own threads do the work
        model.fit(
            train, show_progress=False, callback=lambda epoch, elapsed, *_: times.append(elapsed)
        )
    save_factors(job.scratch, model.user_factors, model.item_factors)
    lr = f"{model.learning_rate:g} (SGD)"
    return epoch_times(times) | {"version": implicit.__version__, "lr": lr}


if __name__ == "__main__":
    serve({"train": train})
