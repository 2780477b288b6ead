"""Scores of positives and negatives, as a ranking loss sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.kernels import pair_scores, table_scores
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch, lookup


def score_batch(
    batch: PairBatch, negatives: Negatives, view: EmbeddingView
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Score the pairs of a batch and their negatives, synthesised ones included.

    The score of a mixture ``(1 - a) e + a h`` is the mixture of the scores, so mixed embeddings
    are never made. A pair without a synthesised negative has ``a = 0``.

    Returns
    -------
    tuple[Tensor, Tensor, Tensor | None]
        Scores of the positives ``[B]`` and of the negatives ``[B, N]`` (``[B, N + S]`` when
        synthesised negatives enter as more of them), and the weights of the latter or None.
    """
    positive, scores = _base_scores(batch, negatives, view)
    weights = negatives.weights
    if not negatives.meets_ranking:
        return positive, scores, weights
    assert negatives.synthesised is not None
    assert negatives.present is not None
    assert negatives.lengths is not None
    present = negatives.present.to(scores.dtype)
    hard = torch.einsum("bd,bsd->bs", lookup(view.users, batch.users), negatives.synthesised)
    if negatives.extra > 0:
        columns = hard * negatives.lengths.mean(dim=1, keepdim=True)
        if weights is None:
            weights = torch.ones_like(scores)
        weights = torch.cat([weights, negatives.extra * present], dim=1)
        return positive, torch.cat([scores, columns], dim=1), weights
    which = _in_turn(negatives)
    share = negatives.mixed * present[:, which]
    mixed = (1 - share) * scores + share * negatives.lengths * hard[:, which]
    return positive, mixed, weights


def mixed_embeddings(negatives: Negatives, view: EmbeddingView) -> Tensor:
    """The negatives as embeddings, mixtures included, float ``[B, N, D]``: for diagnostics."""
    base = negatives.embeddings
    if base is None:
        base = lookup(view.items, negatives.items)
    if not negatives.meets_ranking:
        return base
    assert negatives.synthesised is not None
    assert negatives.present is not None
    assert negatives.lengths is not None
    which = _in_turn(negatives)
    share = negatives.mixed * negatives.present.to(base.dtype)[:, which, None]
    hard = negatives.synthesised[:, which] * negatives.lengths[:, :, None]
    return (1 - share) * base + share * hard


def _in_turn(negatives: Negatives) -> Tensor:
    """The number of the synthesised negative that each of the base's is mixed with, ``[N]``."""
    assert negatives.synthesised is not None
    n = negatives.items.shape[1]
    return torch.arange(n, device=negatives.items.device) % negatives.synthesised.shape[1]


@torch.no_grad()
def candidate_scores(users: Tensor, items: Tensor, view: EmbeddingView) -> Tensor:
    """Score candidates, without a gradient.

    Parameters
    ----------
    users
        Indices, int64 ``[B]``.
    items
        Candidates of each, int64 ``[B, M]``.
    view
        What scores.

    Returns
    -------
    Tensor
        Float ``[B, M]``.
    """
    return view.summed_over.sum(pair_scores(view.users, view.items, users, items))


def _base_scores(
    batch: PairBatch, negatives: Negatives, view: EmbeddingView
) -> tuple[Tensor, Tensor]:
    """Scores of the positives ``[B]`` and of the base's negatives ``[B, N]``."""
    items, positives = negatives.items, batch.positives[:, None]
    if negatives.embeddings is None and len(items) == len(batch.users):
        both = _pairs(batch.users, torch.cat([positives, items], dim=1), view)
        return both[:, 0], both[:, 1:]
    positive = _pairs(batch.users, positives, view)[:, 0]
    users = lookup(view.users, batch.users)
    if negatives.embeddings is None:
        return positive, users @ lookup(view.items, items[0]).T
    return positive, torch.einsum("bd,bnd->bn", users, negatives.embeddings)


def _pairs(users: Tensor, items: Tensor, view: EmbeddingView) -> Tensor:
    if view.table is not None:
        scores = table_scores(view.table, users, items, len(view.users))
    else:
        scores = pair_scores(view.users, view.items, users, items)
    return view.summed_over.sum(scores)
