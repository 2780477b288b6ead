"""A training step without autograd through the tables, for the models that allow it."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.backbones.protocol import Backbone, is_smooth
from hnlmrec.config import ModelConfig
from hnlmrec.kernels import add_rows, add_scores_gradient, table_scores
from hnlmrec.losses import RankingLoss
from hnlmrec.negatives import (
    Ahns,
    Dns,
    Guard,
    NegativeSampler,
    PairBatch,
    Popularity,
    Srns,
    Uniform,
    Warmup,
)

# they give items of each pair and nothing else
_PLAIN = (Ahns, Dns, Popularity, Srns, Uniform)


class DirectStep:
    """Loss and gradient of a batch whose negatives are items and whose scores inner products.

    The backbone is a symmetric map ``S`` of its table, so with ``g`` the gradient in the scores,
    spread to the rows that they are made of, the gradient in the table is ``S g`` plus that of
    L2. Autograd sees the scores only, and the tables of a step are made once.

    Parameters
    ----------
    backbone
        One that `is_smooth`.
    sampler
        One that gives items of each pair.
    ranking_loss
        Of scores.
    l2
        Weight of the L2 of a batch's layer-0 rows.
    """

    def __init__(
        self, backbone: Backbone, sampler: NegativeSampler, ranking_loss: RankingLoss, l2: float
    ) -> None:
        self.backbone, self.sampler, self.ranking_loss, self.l2 = (
            backbone,
            sampler,
            ranking_loss,
            l2,
        )
        self._buffers: list[Tensor] = []

    def step(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Set the gradient of the table to that of the loss of a batch.

        Returns
        -------
        dict[str, Tensor]
            The parts of the loss by name, scalars.
        """
        table, n_users = self.backbone.table.detach(), self.backbone.n_users
        if not self._buffers:
            self._buffers = [torch.empty_like(table) for _ in range(3)]
        spread, *scored = self._buffers
        view = self.backbone.view(self.backbone.smooth(table, scored))
        items = self.sampler.sample(batch, view, generator).items
        columns = torch.cat([batch.positives[:, None], items], dim=1)
        assert view.table is not None
        scores = table_scores(view.table, batch.users, columns, n_users).requires_grad_()
        ranking = self.ranking_loss(scores[:, 0], scores[:, 1:], None)
        (gradient,) = torch.autograd.grad(ranking, scores)
        spread.zero_()
        add_scores_gradient(spread, view.table, batch.users, columns, n_users, gradient)
        total = self.backbone.smooth(spread, scored)
        rows = torch.cat([batch.users, columns.flatten() + n_users])
        l2 = self.l2 * self.backbone.l2(batch.users, batch.positives, items).detach()
        add_rows(total, table, rows, self.l2 / len(batch.users))
        self.backbone.table.grad = total
        return {"ranking": ranking.detach(), "l2": l2}


def direct_step(
    config: ModelConfig, backbone: Backbone, sampler: NegativeSampler, ranking_loss: RankingLoss
) -> DirectStep | None:
    """The direct step of a model, or None where it needs autograd."""
    base = sampler
    while isinstance(base, Guard | Warmup):
        base = base.base
    simple = (
        is_smooth(backbone)
        and isinstance(base, _PLAIN)
        and config.loss.similarity == "inner"
        and config.alignment.weight == 0
    )
    if not simple:
        return None
    return DirectStep(backbone, sampler, ranking_loss, config.training.l2)
