"""A training step without autograd through the tables, for the models that allow it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from hnlmrec.backbones.protocol import Backbone, is_smooth
from hnlmrec.config import ModelConfig
from hnlmrec.kernels import BatchGraph, batch_graph, bpr_gradient, table_scores
from hnlmrec.losses import RankingLoss
from hnlmrec.losses.pairwise import Bpr
from hnlmrec.negatives import (
    Ahns,
    Dns,
    EmbeddingView,
    Guard,
    NegativeSampler,
    PairBatch,
    Popularity,
    Srns,
    Uniform,
    Warmup,
)
from hnlmrec.negatives.parts import sample_part
from hnlmrec.training.division import UNDIVIDED, Division

# they give items of each pair and nothing else
_PLAIN = (Ahns, Dns, Popularity, Srns, Uniform)


class DirectStep:
    """Loss and gradient of a batch whose negatives are items and whose scores inner products.

    The backbone is a symmetric map ``S`` of its table, so with ``g`` the gradient in the scores,
    spread to the rows that they are made of, the gradient in the table is ``S g`` plus that of
    L2. Autograd sees the scores only, and the tables of a step are made once.

    Several processes exchange ``g``, a number for each pair and negative, and not the gradient in
    the table: each then makes that for the rows or columns that it holds.

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
    sparse
        Whether to set a sparse gradient, of the batch's rows alone, where `scores_by_table`.
    division
        What of it is this process's.
    """

    def __init__(
        self,
        backbone: Backbone,
        sampler: NegativeSampler,
        ranking_loss: RankingLoss,
        l2: float,
        sparse: bool = False,
        division: Division = UNDIVIDED,
    ) -> None:
        self.backbone, self.sampler, self.ranking_loss = backbone, sampler, ranking_loss
        self.l2, self._wants_sparse, self.division = l2, sparse, division
        self._last: BatchGraph | None = None

    def step(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Set the gradient of the table to that of the loss of a batch.

        Returns
        -------
        dict[str, Tensor]
            The parts of the loss by name, scalars.
        """
        table, n_users = self.backbone.table.detach(), self.backbone.n_users
        view = self.backbone.view(self.backbone.smooth(table, self._scored))
        view = replace(view, summed_over=self.division.over_columns)
        assert view.table is not None
        ranking, columns, weights = self._compare(self.division.part(batch), view, generator)
        graph = batch_graph(batch.users, columns, n_users, weights, self._place)
        own = self.l2 / len(batch.users)
        if self.sparse:
            squares = self._set_sparse(graph, table, own)
        else:
            squares = self._set_dense(graph, table, view.table, own)
        # each column has squares of its own
        squares = self.division.over_columns.sum(squares)
        return {"ranking": ranking, "l2": squares * (own / 2)}

    def _compare(
        self, part: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The ranking loss of a batch, its items, positives first, and its gradient in scores."""
        items = sample_part(self.sampler, part, view, generator).items
        columns = torch.cat([part.positives[:, None], items], dim=1)
        ranking, weights = self._ranking(view, part.users, columns)
        if part.whole is None:
            return ranking, columns, weights
        share = self.division.weight(part)
        return self.division.gather_pairs(part, share * ranking, columns, share * weights)

    def _set_sparse(self, graph: BatchGraph, table: Tensor, own: float) -> Tensor:
        values, squares = graph.own_product(table, own)
        self.backbone.table.grad = torch.sparse_coo_tensor(
            graph.touched[None], values, table.shape, check_invariants=False
        )
        return squares

    def _set_dense(self, graph: BatchGraph, table: Tensor, scored: Tensor, own: float) -> Tensor:
        if self._last is not None:
            self._gradient.index_fill_(0, self._last.touched, 0)
        self._last = graph
        graph.product(scored, self._gradient)
        total = self.backbone.smooth(self._gradient, self._scored)
        squares = graph.add_own(total, table, own)
        self.backbone.table.grad = total
        return squares

    def _ranking(
        self, view: EmbeddingView, users: Tensor, columns: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The ranking loss, and its gradient in the scores of positives and negatives."""
        n_users, scored = self.backbone.n_users, view.table
        assert scored is not None
        if type(self.ranking_loss) is Bpr and not self.division.has_columns:
            compiled = bpr_gradient(scored, users, columns, n_users)
            if compiled is not None:
                return compiled
        scores = view.summed_over.sum(table_scores(scored, users, columns, n_users))
        scores.requires_grad_()
        loss = self.ranking_loss(scores[:, 0], scores[:, 1:], None)
        (weights,) = torch.autograd.grad(loss, scores)
        return loss.detach(), weights

    # found and made by the first step: a learner that only evaluates needs none of them

    @cached_property
    def scores_by_table(self) -> bool:
        """Whether the table itself scores: then the gradient is 0 outside the batch's rows."""
        table = self.backbone.table.detach()
        return self.backbone.smooth(table, ()) is table

    @property
    def sparse(self) -> bool:
        """Whether `step` sets a sparse gradient."""
        return self._wants_sparse and self.scores_by_table

    @cached_property
    def _gradient(self) -> Tensor:
        """The gradient in what scores: 0 outside the last batch's rows."""
        return torch.zeros_like(self.backbone.table.detach())

    @cached_property
    def _scored(self) -> list[Tensor]:
        """Where what scores is made, and then the gradient."""
        table = self.backbone.table.detach()
        return [] if self.scores_by_table else [torch.empty_like(table) for _ in range(2)]

    @cached_property
    def _place(self) -> Tensor:
        """Room for `batch_graph`."""
        table = self.backbone.table
        return torch.full((len(table),), -1, dtype=torch.int32, device=table.device)


def direct_step(
    config: ModelConfig,
    backbone: Backbone,
    sampler: NegativeSampler,
    ranking_loss: RankingLoss,
    division: Division,
) -> DirectStep | None:
    """The direct step of a model, or None where it needs autograd."""
    base = sampler
    while isinstance(base, Guard | Warmup):
        base = base.base
    simple = (
        is_smooth(backbone)
        and type(base) in _PLAIN  # a subclass may give more
        and config.loss.similarity == "inner"
        and not config.alignment.active
        and config.baseline is None
    )
    if not simple:
        return None
    sparse = config.training.optimizer == "lazy_adam"
    return DirectStep(backbone, sampler, ranking_loss, config.training.l2, sparse, division)
