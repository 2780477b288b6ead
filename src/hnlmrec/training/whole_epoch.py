"""Epochs in one compiled call, for the model whose steps are shorter than the calls they need."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.data.interactions import Interactions
from hnlmrec.kernels import bpr_steps
from hnlmrec.kernels.threads import on_cpu
from hnlmrec.losses.pairwise import Bpr
from hnlmrec.negatives import Uniform
from hnlmrec.training.learner import Learner, epoch_pairs
from hnlmrec.training.optimizer import LazyAdam

# steps between two chances to stop the program
_STEPS = 256


def has_whole_epochs(learner: Learner) -> bool:
    """Whether a learner under lazy Adam is BPR of a table with uniform negatives, on a CPU."""
    return (
        learner.direct is not None
        and learner.direct.sparse
        and type(learner.sampler) is Uniform
        and type(learner.ranking_loss) is Bpr
        and on_cpu(learner.backbone.table)
    )


def whole_epoch(
    learner: Learner,
    optimizer: LazyAdam,
    interactions: Interactions,
    order: torch.Generator,
    negatives: torch.Generator,
) -> dict[str, Tensor]:
    """Do the steps of an epoch; see `Learner.step`.

    Parameters
    ----------
    learner
        One that `has_whole_epochs`.
    optimizer
        Of its table.
    interactions
        What it trains on.
    order, negatives
        Sources of the order of pairs and of the negatives.

    Returns
    -------
    dict[str, Tensor]
        The parts of the loss by name, summed over the steps.
    """
    sampler, training = learner.sampler, learner.config.training
    assert isinstance(sampler, Uniform)
    table, pool = learner.backbone.table.detach(), sampler.pool
    state = optimizer.state[learner.backbone.table]
    users, items, _ = epoch_pairs(interactions, order)
    parts = torch.zeros(2, dtype=torch.float64)
    together = _STEPS * training.batch_size
    for some_users, some_items in zip(users.split(together), items.split(together), strict=True):
        n_steps = -(-len(some_users) // training.batch_size)
        parts += torch.tensor(
            bpr_steps(
                some_users, some_items, training.batch_size, pool.seeds(n_steps, negatives),
                sampler.n, pool.indptr, pool.free_before, pool.n_items, training.l2,
                table, state["exp_avg"], state["exp_avg_sq"], optimizer.next_rates(n_steps),
                optimizer.BETAS, optimizer.EPSILON,
            )
        )  # fmt: skip
    return {"ranking": parts[0], "l2": parts[1]}
