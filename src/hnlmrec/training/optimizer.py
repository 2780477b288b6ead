"""The optimiser of a learner."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from hnlmrec.errors import ConfigError
from hnlmrec.kernels import adam_step
from hnlmrec.kernels.threads import on_cpu
from hnlmrec.losses.pairwise import Bpr
from hnlmrec.negatives import Uniform
from hnlmrec.training.learner import Learner


class LazyAdam(torch.optim.Optimizer):
    """Adam that moves the rows of a table that a batch touched, and no others.

    The moments of other rows stay as they are, where Adam lets them fade: so a step costs what
    the batch costs, whatever the size of the table. The rule is that of torch's ``SparseAdam``.

    Parameters
    ----------
    table
        The only parameter, float ``[R, D]``. Its gradient is sparse, with distinct rows.
    lr
        Learning rate.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, table: nn.Parameter, lr: float) -> None:
        super().__init__([table], {"lr": lr})
        self.state[table] = {
            "step": torch.zeros(()),
            "exp_avg": torch.zeros_like(table),
            "exp_avg_sq": torch.zeros_like(table),
        }

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move the rows of the last batch."""
        (table,) = self.param_groups[0]["params"]
        state = self.state[table]
        rows, gradient = table.grad._indices()[0], table.grad._values()
        (rate,) = self.next_rates(1)
        adam_step(
            rows, gradient, table, state["exp_avg"], state["exp_avg_sq"], rate,
            self.BETAS, self.EPSILON,
        )  # fmt: skip

    def next_rates(self, n: int) -> list[float]:
        """Count ``n`` steps; give the learning rate of each, corrected for both moments' bias."""
        (group,) = self.param_groups
        (table,) = group["params"]
        done = self.state[table]["step"]
        steps = range(int(done.item()) + 1, int(done.item()) + n + 1)
        done += n
        beta, beta_square = self.BETAS
        return [group["lr"] * math.sqrt(1 - beta_square**step) / (1 - beta**step) for step in steps]


class RowwiseAdagrad(torch.optim.Optimizer):
    """Adagrad with one number a row instead of one a parameter, for steps of one triple each.

    With ``g`` the gradient of a row: ``G += mean(g ** 2)``, ``row -= lr / (sqrt(G) + epsilon) g``.
    Adagrad: Duchi, Hazan and Singer, JMLR 2011; one number a row, for large embedding tables:
    FBGEMM's ``EXACT_ROWWISE_ADAGRAD``. `hnlmrec.training.whole_epoch` does its steps.

    Parameters
    ----------
    table
        The only parameter, float32 ``[R, D]``.
    lr
        Learning rate.
    """

    EPSILON = 1e-8

    def __init__(self, table: nn.Parameter, lr: float) -> None:
        super().__init__([table], {"lr": lr})
        self.state[table] = {"sum": torch.zeros(len(table))}


def build_optimizer(learner: Learner) -> torch.optim.Optimizer:
    """The optimiser that the learner's configuration names, over its parameters.

    Raises
    ------
    ConfigError
        If lazy Adam is asked for where a step touches all rows or needs autograd, or Adagrad
        where steps on single triples cannot be compiled, or in several processes.
    """
    training = learner.config.training
    if training.optimizer == "adam":
        # one pass over the parameters instead of a dozen
        return torch.optim.Adam(learner.parameters(), lr=training.lr, fused=True)
    if training.optimizer == "adagrad":
        if learner.division.world.size > 1:
            raise ConfigError(
                "adagrad takes one pair after another, which several processes cannot share out",
                where="training.optimizer",
                mend="set it to lazy_adam or adam, or train in one process",
            )
        if not is_plain_mf(learner):
            raise ConfigError(
                "adagrad needs mf with uniform negatives, bpr and nothing of texts, on a CPU",
                where="training.optimizer",
                mend="set it to adam, or the others to these",
            )
        return RowwiseAdagrad(learner.backbone.table, training.lr)
    direct = learner.direct
    if direct is None or not direct.scores_by_table:
        raise ConfigError(
            "lazy_adam needs a backbone without propagation, a sampler that gives items and a "
            "loss of inner products, and nothing of texts",
            where="training.optimizer",
            mend="set it to adam, or backbone.name to mf and the others to such",
        )
    return LazyAdam(learner.backbone.table, training.lr)


def is_plain_mf(learner: Learner) -> bool:
    """Whether a learner is BPR of a table with uniform negatives, on a CPU."""
    return (
        learner.direct is not None
        and learner.direct.scores_by_table
        and type(learner.sampler) is Uniform
        and type(learner.ranking_loss) is Bpr
        and on_cpu(learner.backbone.table)
    )
