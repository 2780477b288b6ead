"""Where the synthesised negatives stand in the CF space, and whether they have collapsed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from hnlmrec.data.interactions import Interactions
from hnlmrec.negatives.protocol import lookup
from hnlmrec.training.learner import Learner

_PAIRS = 1024
# below these a warning
_LEAST_RANK, _LEAST_COSINE = 2.0, -0.5
MEASURES = ("hard_cosine", "positive_cosine", "hard_norm", "hard_rank")


@torch.no_grad()
def hard_negative_geometry(
    learner: Learner, interactions: Interactions, seed: int
) -> dict[str, float]:
    """Describe e_hard of 1,024 training pairs, drawn with replacement, the same ones for a seed.

    Returns
    -------
    dict[str, float]
        Empty without synthesised negatives; else `MEASURES`. ``hard_cosine`` and
        ``positive_cosine`` are the mean cosines of e_u with e_hard and with e_i; ``hard_norm`` is
        the mean length of e_hard before it is rescaled, over that of the items; ``hard_rank`` is
        the effective rank of the unit e_hard, see `effective_rank`: 1 when all are one vector.
    """
    if learner.semantic is None:
        return {}
    generator = torch.Generator().manual_seed(seed)
    users, items = interactions.pairs("train")
    index = torch.randint(len(users), (_PAIRS,), generator=generator)
    view = learner.view()
    device = view.users.device
    vectors, present = learner.semantic.source.vectors(index.to(device))
    if not present.any():
        return {}
    hard = learner.semantic.adapter(vectors[present])
    pairs = index[present.cpu()].numpy()
    of_users, of_items = (
        lookup(rows, torch.from_numpy(which[pairs]).long().to(device))
        for rows, which in ((view.users, users), (view.items, items))
    )
    return {
        "hard_cosine": cosine_similarity(of_users, hard).mean().item(),
        "positive_cosine": cosine_similarity(of_users, of_items).mean().item(),
        "hard_norm": (hard.norm(dim=1).mean() / view.items.norm(dim=1).mean()).item(),
        "hard_rank": effective_rank(normalize(hard, dim=1)),
    }


def effective_rank(rows: Tensor) -> float:
    """The exponential of the entropy of the singular values of ``[n, D]``, as shares.

    Roy and Vetterli, "The Effective Rank", EUSIPCO 2007. From 1 to the smaller of n and D.
    """
    values = torch.linalg.svdvals(rows.float().cpu())
    shares = values[values > 0] / values.sum()
    return float((-(shares * shares.log()).sum()).exp())


def geometry_lines(geometry: dict[str, float]) -> list[str]:
    """What to print of `hard_negative_geometry`: the numbers, and what is wrong with them."""
    if not geometry:
        return []
    lines = [
        "synthesised negatives: cosine to the user {hard_cosine:.2f} (positives "
        "{positive_cosine:.2f}), length {hard_norm:.2f} of an item's, effective rank "
        "{hard_rank:.1f}".format(**geometry)
    ]
    if geometry["hard_rank"] < _LEAST_RANK:
        lines.append(
            "warning: the synthesised negatives have collapsed onto nearly one vector; see "
            "alignment.weight, and whether fine-tuning says so too"
        )
    if geometry["hard_cosine"] < _LEAST_COSINE:
        lines.append(
            "warning: the synthesised negatives point away from their users, so they teach "
            "nothing; see sampler.stop_gradient and alignment.weight"
        )
    return lines
