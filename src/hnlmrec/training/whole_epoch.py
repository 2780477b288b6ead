"""Epochs in compiled calls, for the model whose steps are shorter than the calls they need."""

from __future__ import annotations

import math

import torch

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
    sampler = learner.sampler
    assert isinstance(sampler, Uniform)
    users, items, _ = epoch_pairs(interactions, order)
    if isinstance(optimizer, RowwiseAdagrad):
        together, n_steps = _PAIRS, len(users) * sampler.n
    else:
        batch_size = learner.config.training.batch_size
        together, n_steps = _STEPS * batch_size, math.ceil(len(users) / batch_size)
    ranking = l2 = 0.0
    for some_users, some_items in zip(users.split(together), items.split(together), strict=True):
        if isinstance(optimizer, RowwiseAdagrad):
            parts = _adagrad(learner, optimizer, sampler, some_users, some_items, negatives)
        else:
            assert isinstance(optimizer, LazyAdam)
            parts = _lazy_adam(learner, optimizer, sampler, some_users, some_items, negatives)
        ranking, l2 = ranking + parts[0], l2 + parts[1]
    return {"ranking": ranking / n_steps, "l2": l2 / n_steps}


def _lazy_adam(
    learner: Learner,
    optimizer: LazyAdam,
    sampler: Uniform,
    users: torch.Tensor,
    items: torch.Tensor,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Batch by batch."""
    parameter, pool, training = learner.backbone.table, sampler.pool, learner.config.training
    state, n_steps = optimizer.state[parameter], math.ceil(len(users) / training.batch_size)
    return bpr_steps(
        users, items, training.batch_size, pool.seeds(n_steps, generator), sampler.n, pool.indptr,
        pool.free_before, pool.n_items, training.l2, parameter.detach(), state["exp_avg"],
        state["exp_avg_sq"], optimizer.next_rates(n_steps), optimizer.BETAS, optimizer.EPSILON,
    )  # fmt: skip


def _adagrad(
    learner: Learner,
    optimizer: RowwiseAdagrad,
    sampler: Uniform,
    users: torch.Tensor,
    items: torch.Tensor,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Triple by triple."""
    parameter, pool, training = learner.backbone.table, sampler.pool, learner.config.training
    return bpr_triples(
        users, items, pool.sample(users, sampler.n, generator), training.l2, parameter.detach(),
        optimizer.state[parameter]["sum"], pool.n_items, training.lr, optimizer.EPSILON,
    )  # fmt: skip
