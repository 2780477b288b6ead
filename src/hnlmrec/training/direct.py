"""A training step without autograd through the tables, for the models that allow it."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.backbones.protocol import Backbone, is_smooth
from hnlmrec.config import ModelConfig
from hnlmrec.kernels import (
    add_rows,
    add_scores_gradient,
    bpr_gradient,
    distinct,
    squared_norms,
    table_scores,
)
from hnlmrec.losses import RankingLoss
from hnlmrec.losses.pairwise import Bpr
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
        self.backbone, self.sampler, self.ranking_loss = backbone, sampler, ranking_loss
        self.l2 = l2
        # made by the first step: a learner that only evaluates needs none of them
        self._gradient: Tensor | None = None
        self._scored: list[Tensor] = []
        self._touched: Tensor | None = None
        self._seen: Tensor | None = None

    def scores_by_table(self) -> bool:
        """Whether the table itself scores: then the gradient is 0 outside the batch's rows."""
        table = self.backbone.table.detach()
        return self.backbone.smooth(table, ()) is table

    def touched_rows(self) -> Tensor:
        """Distinct rows of the table that the last batch is made of, int64.

        Who asks for them sets their gradient to 0, and `step` does not clear all the others.
        """
        assert self._touched is not None
        if self._seen is None:
            shape, device = len(self.backbone.table), self._touched.device
            self._seen = torch.zeros(shape, dtype=torch.bool, device=device)
        return distinct(self._touched, self._seen)

    def step(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Set the gradient of the table to that of the loss of a batch.

        Returns
        -------
        dict[str, Tensor]
            The parts of the loss by name, scalars.
        """
        table, n_users = self.backbone.table.detach(), self.backbone.n_users
        gradient = self._cleared(table)
        view = self.backbone.view(self.backbone.smooth(table, self._scored))
        items = self.sampler.sample(batch, view, generator).items
        columns = torch.cat([batch.positives[:, None], items], dim=1)
        assert view.table is not None
        ranking, weights = self._ranking(view.table, batch.users, columns)
        add_scores_gradient(gradient, view.table, batch.users, columns, n_users, weights)
        total = self.backbone.smooth(gradient, self._scored)
        self._touched = torch.cat([batch.users, columns.flatten() + n_users])
        add_rows(total, table, self._touched, self.l2 / len(batch.users))
        self.backbone.table.grad = total
        squares = squared_norms(table, self._touched)
        return {"ranking": ranking, "l2": self.l2 * squares / (2 * len(batch.users))}

    def _ranking(self, scored: Tensor, users: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """The ranking loss, and its gradient in the scores of positives and negatives."""
        n_users = self.backbone.n_users
        if type(self.ranking_loss) is Bpr:
            compiled = bpr_gradient(scored, users, columns, n_users)
            if compiled is not None:
                return compiled
        scores = table_scores(scored, users, columns, n_users).requires_grad_()
        loss = self.ranking_loss(scores[:, 0], scores[:, 1:], None)
        (weights,) = torch.autograd.grad(loss, scores)
        return loss.detach(), weights

    def _cleared(self, table: Tensor) -> Tensor:
        """The table that receives the gradient in what scores, all 0."""
        if self._gradient is None:
            self._gradient = torch.zeros_like(table)
            if not self.scores_by_table():
                self._scored = [torch.empty_like(table) for _ in range(2)]
        elif self._seen is None:
            self._gradient.zero_()
        return self._gradient


def direct_step(
    config: ModelConfig, backbone: Backbone, sampler: NegativeSampler, ranking_loss: RankingLoss
) -> DirectStep | None:
    """The direct step of a model, or None where it needs autograd."""
    base = sampler
    while isinstance(base, Guard | Warmup):
        base = base.base
    simple = (
        is_smooth(backbone)
        and type(base) in _PLAIN  # a subclass may give more
        and config.loss.similarity == "inner"
        and config.alignment.weight == 0
    )
    if not simple:
        return None
    return DirectStep(backbone, sampler, ranking_loss, config.training.l2)
