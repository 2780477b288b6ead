"""MixGCF."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.negatives.layers import concatenates, layers_of, pool_layers
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch, lookup
from hnlmrec.negatives.scoring import candidate_scores
from hnlmrec.negatives.uninteracted import Uninteracted


class MixGcf:
    """Negatives mixed out of the layers of several candidates and of the positive.

    In each layer ``l``, some of the positive is mixed into every candidate ``m``, with
    ``a_l ~ U(0, 1)``; of these mixtures the one that suits the user best is taken, and the layers
    are pooled as the backbone pools its own::

        e'_ml = a_l e+_l + (1 - a_l) e_ml
        e-    = pool_l e'_kl,   k = argmax_m <e_u, e'_ml>

    Huang et al., "MixGCF: An Improved Training Method for Graph Neural Network-based Recommender
    Systems", KDD 2021. As in the released code, ``a_l`` is drawn for a pair, a negative and a
    layer and shared by the candidates, and the user's embedding is the pooled one (that of the
    layer where a backbone concatenates). The share of the positive is then the same in all
    candidates of a layer, so the choice is that of the candidates alone and is made before mixing.
    Candidates: 16, the fewest of those released for LightGCN (64 on Yelp2018, 32 on Alibaba, 16 on
    Amazon). The negatives stand on the item chosen in layer 0, the one that L2 applies to.
    Cost per batch: B N M draws and, for each of the layers, as many inner products and B N
    mixtures.

    Parameters
    ----------
    pool
        The un-interacted items.
    n
        Negatives a pair; each has candidates of its own.
    candidates
        Uniform candidates a negative (M).
    """

    needs_layers = True
    by_row = True

    def __init__(self, pool: Uninteracted, n: int, candidates: int) -> None:
        self.pool, self.n, self.candidates = pool, n, candidates

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Mix ``n`` negatives of each pair; gradients flow to all that is mixed."""
        layers = layers_of(view)
        drawn = batch.draw(self.pool, self.n * self.candidates, generator)
        shares = torch.rand(
            (len(batch.every.users), self.n, len(layers)),
            generator=generator, dtype=view.items.dtype, device=drawn.device,
        )  # fmt: skip
        shares = batch.own(shares)
        chosen, mixtures = [], []
        for layer, share in zip(layers, shares.split(1, dim=2), strict=True):
            users = layer.users if concatenates(view) else view.users
            items = self._hardest(batch.users, drawn, EmbeddingView(users, layer.items))
            positive = lookup(layer.items, batch.positives).unsqueeze(1)
            mixtures.append(share * positive + (1 - share) * lookup(layer.items, items))
            chosen.append(items)
        return Negatives(chosen[0], pool_layers(mixtures, view))

    def _hardest(self, users: Tensor, drawn: Tensor, view: EmbeddingView) -> Tensor:
        """The best scored candidate of each negative, int64 ``[B, N]``."""
        shape = (len(drawn), self.n, self.candidates)
        place = candidate_scores(users, drawn, view).view(shape).argmax(dim=2, keepdim=True)
        return drawn.view(shape).gather(2, place).squeeze(2)
