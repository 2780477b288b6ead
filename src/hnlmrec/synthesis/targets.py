"""What kind of items supervision chooses: how hard for the CF model, how near in meaning."""

from __future__ import annotations

import torch
from pydantic import BaseModel
from torch import Tensor

from hnlmrec.data.interactions import Interactions
from hnlmrec.kernels import pair_scores
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.negatives.uninteracted import Uninteracted

_BESIDE = 256
_QUANTILES = (0.1, 0.5, 0.9)
Quantiles = tuple[float, float, float]


class TargetReport(BaseModel):
    """The 10th, 50th and 90th percentile over pairs of where their targets stand.

    ``cf`` and ``text_of_user``, ``text_of_item`` are shares, between 0 and 1, of the user's
    un-interacted items that the target beats: in the CF score; in the cosine of texts to the mean
    of the user's training items; in that to the pair's item. A random target has .5 in all.
    ``above_positives`` is the share of targets that score above the user's mean training item:
    likely false negatives; ``distinct`` counts the items that are a target at all.
    """

    pairs: int
    cf: Quantiles
    text_of_user: Quantiles
    text_of_item: Quantiles
    above_positives: float
    distinct: int
    items: int

    def lines(self) -> list[str]:
        """What to print."""
        standing = ", ".join(
            f"{name} {middle:.2f} ({low:.2f} to {high:.2f})"
            for name, (low, middle, high) in (
                ("CF score", self.cf),
                ("nearness of text to the user's items", self.text_of_user),
                ("to the pair's item", self.text_of_item),
            )
        )
        return [
            f"targets of {self.pairs:,} pairs, percentiles among un-interacted items: {standing}",
            f"targets: {self.distinct:,} distinct of {self.items:,} items; "
            f"{self.above_positives:.1%} score above the user's mean training item",
        ]


@torch.no_grad()
def describe_targets(
    users: Tensor,
    items: Tensor,
    targets: Tensor,
    view: EmbeddingView,
    item_vectors: Tensor,
    interactions: Interactions,
    generator: torch.Generator,
) -> TargetReport:
    """Compare targets with random un-interacted items of the same users.

    Parameters
    ----------
    users, items, targets
        Training pairs and their hard negatives, int64 ``[B]``.
    view
        Embeddings of the CF model that supervises.
    item_vectors
        Unit text vectors, float32 ``[n_items, width]``.
    interactions
        Only its training part is read.
    generator
        Source of the items compared with, 256 a user.
    """
    beside = Uninteracted(interactions.train, "cpu").sample(users, _BESIDE, generator)
    compared = torch.cat([targets.unsqueeze(1), beside], dim=1)
    rows = torch.arange(len(users))
    history = interactions.train[users.numpy()].tocsr()
    counts = torch.from_numpy(history.sum(axis=1)).clamp(min=1).unsqueeze(1)
    all_items, mine = view.items.cpu(), view.users.cpu()[users]
    liked = torch.from_numpy(history @ all_items.numpy()) / counts
    liked_texts = torch.from_numpy(history @ item_vectors.numpy()) / counts
    scores = pair_scores(mine, all_items, rows, compared)
    return TargetReport(
        pairs=len(users),
        cf=_standing(scores),
        text_of_user=_standing(pair_scores(liked_texts, item_vectors, rows, compared)),
        text_of_item=_standing(pair_scores(item_vectors, item_vectors, items, compared)),
        above_positives=float((scores[:, 0] > (mine * liked).sum(dim=1)).float().mean()),
        distinct=len(targets.unique()),
        items=len(item_vectors),
    )


def _standing(values: Tensor) -> Quantiles:
    """Quantiles over rows of the share of the rest that a row's first beats; ties count half."""
    first, rest = values[:, :1], values[:, 1:]
    share = (rest < first).float().mean(dim=1) + (rest == first).float().mean(dim=1) / 2
    low, middle, high = torch.quantile(share, torch.tensor(_QUANTILES)).tolist()
    return low, middle, high
