"""DENS."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.nn.utils import skip_init

from hnlmrec.errors import ConfigError
from hnlmrec.negatives.layers import layers_of, pool_layers
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch, lookup
from hnlmrec.negatives.uninteracted import Uninteracted


class Dens(nn.Module):
    """Negatives that match the positive in what the user does not care for.

    Gates split an item into factors that are relevant to the user and others; all products with
    a gate are by element, ``s`` is the logistic function, and all layers share the gates::

        r+  = e+  * s(W_item e+ + W_user e_u)          relevant factors of the positive
        r_m = e_m * s(W_neg e_m + W_pos r+)            and of candidate m, in view of the positive
        e-  = pool_l e_kl,   k = argmax_m <e_ul, (1 - c_t) e_ml - r_ml>

    with ``c_t = min(1, (t - 1) / T)`` in epoch ``t``: from negatives with the best irrelevant
    factors to those with the worst relevant ones. The gates learn from a contrastive loss alone,
    of the pooled scores of the positive's and the negatives' relevant and irrelevant factors,
    ``p_r``, ``p_i``, ``n_r`` and ``n_i`` (``e - r``), with the mean of four terms
    ``log(1 + sum exp x)`` over ``x = p_i - p_r``, ``n_r - n_i``, ``n_r - p_r`` and ``p_i - n_i``;
    the embeddings learn from it too.

    Lai et al., "Disentangled Negative Sampling for Collaborative Filtering", WSDM 2023; the
    equations and defaults (6 candidates, T = 100, weight 0.3) are those of the released code.
    The negatives stand on the item chosen in layer 0, the one that L2 applies to.
    Cost per batch: B N M draws and, for each of the layers, a product of as many embeddings with
    a matrix of D x D.

    Parameters
    ----------
    pool
        The un-interacted items.
    n
        Negatives a pair; each has candidates of its own.
    width
        Size of an embedding of a layer (D).
    candidates
        Uniform candidates a negative (M).
    gate_warmup
        T.
    weight
        Weight of the contrastive loss.
    generator
        Source of the gates' initial values, on the CPU.
    device
        Where the gates live.
    """

    needs_layers = True
    by_row = True

    def __init__(
        self,
        pool: Uninteracted,
        n: int,
        width: int,
        candidates: int,
        gate_warmup: int,
        weight: float,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.pool, self.n, self.width, self.candidates = pool, n, width, candidates
        self.gate_warmup, self.weight = gate_warmup, weight
        self.item_gate, self.user_gate, self.negative_gate, self.positive_gate = (
            _gate(width, generator).to(device) for _ in range(4)
        )

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Choose ``n`` negatives of each pair; gradients flow to the layers chosen."""
        self._check(view)
        drawn = batch.draw(self.pool, self.n * self.candidates, generator)
        chosen = [self._choose(batch, drawn, layer) for layer in layers_of(view)]
        rows = [
            lookup(layer.items, items) for layer, items in zip(layers_of(view), chosen, strict=True)
        ]
        loss = self._contrast(batch, rows, view) if self.weight > 0 else None
        return Negatives(chosen[0], pool_layers(rows, view), loss=loss)

    @torch.no_grad()
    def _choose(self, batch: PairBatch, drawn: Tensor, layer: EmbeddingView) -> Tensor:
        """The chosen candidate of each negative in a layer, int64 ``[B, N]``."""
        users, candidates = lookup(layer.users, batch.users), lookup(layer.items, drawn)
        relevant = self._relevant(users, lookup(layer.items, batch.positives), candidates)[1]
        passed = min(1.0, (batch.epoch - 1) / self.gate_warmup)
        rest = (1 - passed) * candidates - relevant
        shape = (len(drawn), self.n, self.candidates)
        scores = torch.einsum("bd,bkd->bk", users, rest).view(shape)
        place = scores.argmax(dim=2, keepdim=True)
        return drawn.view(shape).gather(2, place).squeeze(2)

    def _relevant(
        self, users: Tensor, positives: Tensor, negatives: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Relevant factors of positives ``[B, D]`` and of negatives ``[B, K, D]``."""
        relevant = positives * torch.sigmoid(self.item_gate(positives) + self.user_gate(users))
        gate = self.negative_gate(negatives) + self.positive_gate(relevant).unsqueeze(1)
        return relevant, negatives * torch.sigmoid(gate)

    def _contrast(self, batch: PairBatch, rows: list[Tensor], view: EmbeddingView) -> Tensor:
        """The weighted loss of the gates, from the negatives ``[B, N, D]`` of each layer."""
        layers = layers_of(view)
        users = [lookup(layer.users, batch.users) for layer in layers]
        positives = [lookup(layer.items, batch.positives) for layer in layers]
        relevant = [self._relevant(*each) for each in zip(users, positives, rows, strict=True)]
        user = pool_layers(users, view)
        positive, p_r = (
            (user * pool_layers(part, view)).sum(dim=1, keepdim=True)
            for part in (positives, [one for one, _ in relevant])
        )
        negative, n_r = (
            torch.einsum("bd,bnd->bn", user, pool_layers(part, view))
            for part in (rows, [other for _, other in relevant])
        )
        p_i, n_i = positive - p_r, negative - n_r
        terms = (p_i - p_r, n_r - n_i, n_r - p_r, p_i - n_i)
        means = [softplus(term.logsumexp(dim=1)).mean() for term in terms]
        return self.weight * torch.stack(means).mean()

    def _check(self, view: EmbeddingView) -> None:
        width = layers_of(view)[0].items.shape[1]
        if width != self.width:
            raise ConfigError(
                f"the gates of dens are {self.width} wide and the backbone's layers {width}",
                where="sampler.name 'dens'",
                mend="use a backbone that averages its layers, such as lightgcn",
            )


def _gate(width: int, generator: torch.Generator) -> nn.Linear:
    """A square layer with the initial values that torch gives one, from a generator."""
    gate: nn.Linear = skip_init(nn.Linear, width, width)
    bound = 1 / math.sqrt(width)
    with torch.no_grad():
        gate.weight.uniform_(-bound, bound, generator=generator)
        gate.bias.uniform_(-bound, bound, generator=generator)
    return gate
