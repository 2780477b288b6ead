"""Epochs in compiled calls, for the model whose steps are shorter than the calls they need."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hnlmrec.data.interactions import Interactions
from hnlmrec.kernels import bpr_steps, bpr_triples
from hnlmrec.negatives import Uniform
from hnlmrec.training.learner import Learner, epoch_pairs
from hnlmrec.training.optimizer import LazyAdam, RowwiseAdagrad, is_plain_mf
from hnlmrec.training.watch import not_finite

Losses = npt.NDArray[np.float64]

# between two chances to stop the program
_STEPS, _PAIRS = 256, 1 << 16


def has_whole_epochs(learner: Learner, optimizer: torch.optim.Optimizer) -> bool:
    """Whether `whole_epoch` can do what as many steps do: alone, as processes meet in each step."""
    compiled = isinstance(optimizer, LazyAdam | RowwiseAdagrad) and is_plain_mf(learner)
    return compiled and learner.division.world.size == 1


def whole_epoch(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    interactions: Interactions,
    order: torch.Generator,
    negatives: torch.Generator,
    epoch: int,
) -> dict[str, float]:
    """Do the steps of an epoch; see `Learner.step`.

    Parameters
    ----------
    learner, optimizer
        Such as `has_whole_epochs`.
    interactions
        What it trains on.
    order, negatives
        Sources of the order of pairs and of the negatives.
    epoch
        Its number.

    Returns
    -------
    dict[str, float]
        The mean over steps of each part of the loss.

    Raises
    ------
    HnlmrecError
        When the loss is not finite; it names the batch (with Adagrad, a range of pairs).
    """
    users, items, _ = epoch_pairs(interactions, order)
    if isinstance(optimizer, RowwiseAdagrad):
        together, n_steps = _PAIRS, len(users) * learner.config.training.negatives
    else:
        batch_size = learner.config.training.batch_size
        together, n_steps = _STEPS * batch_size, math.ceil(len(users) / batch_size)
    ranking = l2 = 0.0
    chunks = zip(users.split(together), items.split(together), strict=True)
    for start, (some_users, some_items) in zip(range(0, len(users), together), chunks, strict=True):
        of_ranking, of_l2 = _some_steps(learner, optimizer, some_users, some_items, negatives)
        _check(learner, of_ranking, of_l2, epoch, start, len(some_users))
        ranking, l2 = ranking + float(of_ranking.sum()), l2 + float(of_l2.sum())
    return {"ranking": ranking / n_steps, "l2": l2 / n_steps}


def _some_steps(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    users: Tensor,
    items: Tensor,
    generator: torch.Generator,
) -> tuple[Losses, Losses]:
    """Steps on these pairs in one call: BPR and L2 of each step, or of triples all together."""
    training, sampler, parameter = learner.config.training, learner.sampler, learner.backbone.table
    assert isinstance(sampler, Uniform)
    pool, table, state = sampler.pool, parameter.detach(), optimizer.state[parameter]
    if isinstance(optimizer, RowwiseAdagrad):
        drawn = pool.sample(users, sampler.n, generator)
        sums = bpr_triples(
            users, items, drawn, training.l2, table, state["sum"], pool.n_items, training.lr,
            optimizer.EPSILON,
        )  # fmt: skip
        return np.array(sums[:1]), np.array(sums[1:])
    assert isinstance(optimizer, LazyAdam)
    n_steps = math.ceil(len(users) / training.batch_size)
    return bpr_steps(
        users, items, training.batch_size, pool.seeds(n_steps, generator), sampler.n, pool.indptr,
        pool.free_before, pool.n_items, training.l2, table, state["exp_avg"], state["exp_avg_sq"],
        optimizer.next_rates(n_steps), optimizer.BETAS, optimizer.EPSILON,
    )  # fmt: skip


def _check(
    learner: Learner, ranking: Losses, l2: Losses, epoch: int, start: int, n_pairs: int
) -> None:
    """Look at the losses of steps that began with pair ``start`` of the epoch's order."""
    bad = np.flatnonzero(~np.isfinite(ranking + l2))
    if len(bad) == 0:
        return
    where = f"pairs {start + 1} to {start + n_pairs}"
    if len(ranking) == math.ceil(n_pairs / learner.config.training.batch_size):
        where = f"batch {start // learner.config.training.batch_size + bad[0] + 1}"
    parts = {"ranking": ranking[bad[0]], "l2": l2[bad[0]]}
    raise not_finite(learner, f"epoch {epoch}, {where}", parts)
