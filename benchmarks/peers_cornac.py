"""cornac's side of `peers.py`: its BPR."""

from __future__ import annotations

import warnings

import cornac
import numpy as np
from cornac.data import Dataset
from cornac.models import BPR

from peers_protocol import Job, Line, Splits, epoch_times, save_factors, seconds, serve

warnings.filterwarnings("ignore", message="Model is already fitted")


def train(job: Job) -> Line:
    """Time epochs and export the factors, the items' bias as one more column.

    cornac tells no times, so each epoch is a call of ``fit``, which goes on from the factors it
    has; what it prepares anew is a copy of the users' indices. With a seed it would use a single
    thread, so it has none.
    """
    splits = Splits.load(job.folder)
    n_users, n_items = splits.shape
    users, items = splits.train
    maps = ({index: index for index in range(n)} for n in splits.shape)
    data = Dataset(n_users, n_items, *maps, (users, items, np.ones(len(users), dtype=np.float32)))
    rate = {} if job.lr is None else {"learning_rate": job.lr}
    model = BPR(k=job.dim, max_iter=1, num_threads=job.threads, **rate)
    times = [seconds(lambda: model.fit(data)) for _ in range(job.epochs)]
    ones = np.ones((n_users, 1))
    save_factors(
        job.scratch,
        np.concatenate([model.u_factors, ones], axis=1),
        np.concatenate([model.i_factors, model.i_biases[:, None]], axis=1),
    )
    lr = f"{model.learning_rate:g} (SGD)"
    return epoch_times(times) | {"version": cornac.__version__, "lr": lr}


if __name__ == "__main__":
    serve({"train": train})
