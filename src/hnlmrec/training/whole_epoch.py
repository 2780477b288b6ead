"""Epochs in compiled calls, for the model whose steps are shorter than the calls they need."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hnlmrec.data.interactions import Interactions
from hnlmrec.kernels import bpr_steps, bpr_triples
from hnlmrec.negatives import Uniform
from hnlmrec.training.learner import Learner, epoch_pairs
from hnlmrec.training.optimizer import LazyAdam, RowwiseAdagrad, is_plain_mf

# between two chances to stop the program
_STEPS, _PAIRS = 256, 1 << 16


def has_whole_epochs(learner: Learner, optimizer: torch.optim.Optimizer) -> bool:
    """Whether `whole_epoch` can do what as many steps do."""
    return isinstance(optimizer, LazyAdam | RowwiseAdagrad) and is_plain_mf(learner)


def whole_epoch(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    interactions: Interactions,
    order: torch.Generator,
    negatives: torch.Generator,
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

    Returns
    -------
    dict[str, float]
        The mean over steps of each part of the loss.
    """
    users, items, _ = epoch_pairs(interactions, order)
    if isinstance(optimizer, RowwiseAdagrad):
        together, n_steps = _PAIRS, len(users) * learner.config.training.negatives
    else:
        batch_size = learner.config.training.batch_size
        together, n_steps = _STEPS * batch_size, math.ceil(len(users) / batch_size)
    ranking = l2 = 0.0
    for some_users, some_items in zip(users.split(together), items.split(together), strict=True):
        parts = _some_steps(learner, optimizer, some_users, some_items, negatives)
        ranking, l2 = ranking + parts[0], l2 + parts[1]
    return {"ranking": ranking / n_steps, "l2": l2 / n_steps}


def _some_steps(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    users: Tensor,
    items: Tensor,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Steps on these pairs in one call: BPR and L2, each summed over them."""
    training, sampler, parameter = learner.config.training, learner.sampler, learner.backbone.table
    assert isinstance(sampler, Uniform)
    pool, table, state = sampler.pool, parameter.detach(), optimizer.state[parameter]
    if isinstance(optimizer, RowwiseAdagrad):
        drawn = pool.sample(users, sampler.n, generator)
        return bpr_triples(
            users, items, drawn, training.l2, table, state["sum"], pool.n_items, training.lr,
            optimizer.EPSILON,
        )  # fmt: skip
    assert isinstance(optimizer, LazyAdam)
    n_steps = math.ceil(len(users) / training.batch_size)
    return bpr_steps(
        users, items, training.batch_size, pool.seeds(n_steps, generator), sampler.n, pool.indptr,
        pool.free_before, pool.n_items, training.l2, table, state["exp_avg"], state["exp_avg_sq"],
        optimizer.next_rates(n_steps), optimizer.BETAS, optimizer.EPSILON,
    )  # fmt: skip
