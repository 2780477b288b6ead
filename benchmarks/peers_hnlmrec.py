"""hnlmrec's side of `peers.py`: train, evaluate, and a few steps at scale."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable
from functools import partial
from importlib.metadata import version

import numpy as np
import polars as pl
import torch

from hnlmrec.config import ModelConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.evaluation import evaluate
from hnlmrec.negatives import EmbeddingView, PairBatch
from hnlmrec.process import set_up_process
from hnlmrec.training.learner import Learner, build_learner, epoch_batches
from hnlmrec.training.optimizer import build_optimizer
from hnlmrec.training.trainer import run_epoch
from hnlmrec.training.whole_epoch import has_whole_epochs
from peers_protocol import (
    CUTOFFS,
    METRIC_KEYS,
    USERS_AT_ONCE,
    Job,
    Line,
    Splits,
    epoch_times,
    load_factors,
    save_factors,
    seconds,
    serve,
)

CPU = torch.device("cpu")
EPOCHS_AT_SCALE = 3


def read(folder: str) -> Interactions:
    """Build the interactions from the pairs."""
    splits = Splits.load(folder)
    parts = (splits.train, splits.valid, splits.test)
    users, items = np.concatenate(parts, axis=1)
    code = np.repeat(np.arange(3, dtype=np.int8), [part.shape[1] for part in parts])
    ids = (pl.int_range(n, eager=True) for n in splits.shape)
    return Interactions.from_pairs(*ids, users, items, code)


def start(job: Job, interactions: Interactions) -> tuple[Learner, torch.optim.Optimizer]:
    """Build the learner and the optimiser that `hnlmrec train` builds."""
    set_up_process(job.threads)
    training = {"batch_size": job.batch_size} | ({} if job.lr is None else {"lr": job.lr})
    backbone, *variants = job.model.split()
    if "lazy" in variants:
        training["optimizer"] = "lazy_adam"
    if "adagrad" in variants:
        # its steps are of one triple, so defaults for batches under Adam do not fit
        training = {"lr": 0.1, "l2": 0.03} | training | {"optimizer": "adagrad"}
    sampler = {"name": "dns", "candidates": 16} if "dns16" in variants else {"name": "uniform"}
    config = ModelConfig.model_validate(
        {
            "backbone": {"name": backbone, "dim": job.dim, "layers": job.layers},
            "sampler": sampler,
            "training": training,
        }
    )
    learner = build_learner(config, interactions, job.seed, None, CPU)
    return learner, build_optimizer(learner)


def step(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[PairBatch],
    generator: torch.Generator,
) -> None:
    """Train on the batches."""
    for batch in batches:
        learner.step(batch, generator)
        optimizer.step()


def time_epochs(
    job: Job,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    interactions: Interactions,
    n: int,
) -> list[float]:
    """Seconds of each of ``n`` epochs."""
    return [
        seconds(partial(run_epoch, learner, optimizer, interactions, job.seed, epoch, CPU))
        for epoch in range(1, n + 1)
    ]


def train(job: Job) -> Line:
    """Time epochs and export the embeddings."""
    interactions = read(job.folder)
    learner, optimizer = start(job, interactions)
    times = time_epochs(job, learner, optimizer, interactions, job.epochs)
    with torch.no_grad():
        view = learner.view().detach()
    save_factors(job.scratch, view.users, view.items)
    lr = learner.config.training.lr
    name = type(optimizer).__name__
    return epoch_times(times) | {"version": version("hnlmrec"), "lr": f"{lr:g} ({name})"}


def rank_all(job: Job) -> Line:
    """Time the full ranking of the test users and its metrics."""
    set_up_process(job.threads)
    interactions = read(job.folder)
    view = EmbeddingView(*map(torch.from_numpy, load_factors(job.factors)))
    found = []

    def run() -> None:
        found[:] = [evaluate(view, interactions, "test", CUTOFFS, USERS_AT_ONCE)]

    times = [seconds(run) for _ in range(job.repeats + 1)][1:]
    means = found[0].means()
    return {
        "users_per_second": found[0].frame.height / statistics.median(times),
        "metrics": {key: means[key.replace("hit@", "hr@")] for key in METRIC_KEYS},
    }


def scale(job: Job) -> Line:
    """Time batches of a hundredth of the data after one, or epochs that are one call."""
    interactions = read(job.folder)
    n_pairs = interactions.train.nnz
    learner, optimizer = start(job, interactions)
    if has_whole_epochs(learner, optimizer):
        epochs = epoch_times(time_epochs(job, learner, optimizer, interactions, EPOCHS_AT_SCALE))
        all_pairs = epochs["epoch_seconds"]
        return {
            "microseconds": all_pairs / n_pairs * 1e6,
            "epoch_seconds": all_pairs,
            "pairs": n_pairs,
        }
    generator = torch.Generator().manual_seed(job.seed)
    batches = epoch_batches(interactions, job.batch_size, generator, CPU)
    step(learner, optimizer, itertools.islice(batches, 1), generator)
    times = [
        seconds(lambda: step(learner, optimizer, itertools.islice(batches, 1), generator))
        for _ in range(job.steps)
    ]
    each = statistics.median(times) / job.batch_size
    return {"microseconds": each * 1e6, "epoch_seconds": each * n_pairs, "pairs": n_pairs}


if __name__ == "__main__":
    serve({"train": train, "evaluate": rank_all, "scale": scale})
