"""The contrastive objective of fine-tuning, and what is logged of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

_Objective = Callable[[Tensor, Tensor, Tensor], Tensor]


def log_sigmoid(towards: Tensor, away: Tensor, same: Tensor) -> Tensor:
    """The paper's loss: mean over the B x B batch of ``-log sigmoid(towards_bb - away_bb')``.

    Parameters
    ----------
    towards
        ``cos(q_b, p_b') / tau``, float ``[B, B]``: queries against the hard negatives.
    away
        ``cos(q_b, n_b') / tau``, float ``[B, B]``: queries against the interacted items.
    same
        bool ``[B, B]``: the interacted item of b' is the target of b; left out.
    """
    terms = F.softplus(away - towards.diagonal().unsqueeze(1))
    return terms[~same].mean()


def infonce(towards: Tensor, away: Tensor, same: Tensor) -> Tensor:
    """Find the own target among all targets and all interacted items of the batch."""
    logits = torch.cat([towards, away.masked_fill(same, -torch.inf)], dim=1)
    return F.cross_entropy(logits, torch.arange(len(towards), device=towards.device))


OBJECTIVES: dict[str, _Objective] = {"log_sigmoid": log_sigmoid, "infonce": infonce}


def contrastive_step(
    name: str,
    queries: Tensor,
    targets: Tensor,
    items: Tensor,
    item_vectors: Tensor,
    temperature: float,
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch of queries, and its diagnostics.

    Parameters
    ----------
    name
        Key of `OBJECTIVES`.
    queries
        Hard-negative vectors h(u, i), float ``[B, width]``.
    targets, items
        The supervised hard negative and the interacted item of each, int64 ``[B]``.
    item_vectors
        Frozen unit text vectors, float ``[n_items, width]``.
    temperature
        tau.

    Returns
    -------
    tuple[Tensor, dict[str, float]]
        The scalar loss, and: ``loss``; ``margin``, the mean of cos(q, p) - cos(q, n);
        ``accuracy``, how often the own target is the nearest of the batch's; ``mi_bound``, the
        InfoNCE lower bound log N - L of the mutual information of query and target, in nats;
        ``distinct``, how many items are nearest to some query, as a share of the batch.
    """
    unit = F.normalize(queries, dim=1)
    towards = unit @ item_vectors[targets].T / temperature
    away = unit @ item_vectors[items].T / temperature
    same = targets[:, None] == items[None, :]
    loss = OBJECTIVES[name](towards, away, same)
    with torch.no_grad():
        twins = (targets[:, None] == targets[None, :]).fill_diagonal_(False)
        choices = towards.masked_fill(twins, -torch.inf)
        own = torch.arange(len(unit), device=unit.device)
        margin = (towards.diagonal() - away.diagonal()).mean() * temperature
        nearest = (unit @ item_vectors.T).argmax(dim=1)
        logged = {
            "loss": loss.item(),
            "margin": margin.item(),
            "accuracy": (choices.argmax(dim=1) == own).float().mean().item(),
            "mi_bound": math.log(len(unit)) - F.cross_entropy(choices, own).item(),
            "distinct": nearest.unique().numel() / len(unit),
        }
    return loss, logged
