"""Uniform negatives first, a sampler's own later."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from hnlmrec.errors import ConfigError
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, NegativeSampler, PairBatch, lookup
from hnlmrec.negatives.uninteracted import Uninteracted


class Warmup:
    """A sampler's negatives take the place of uniform ones over the first epochs.

    In epoch ``t`` each negative of ``base`` is a uniform one with probability
    ``max(0, 1 - (t - 1) / epochs)``: all of them in the first epoch, none from epoch
    ``epochs + 1``. Embeddings that are not trained yet say little about what is hard. What else
    ``base`` gives, such as a loss, is passed on.
    Cost per batch: the base's and, until then, B N draws.

    Parameters
    ----------
    base
        A sampler that chooses negatives for each pair.
    pool
        The un-interacted items.
    epochs
        Epochs until the base's negatives are all its own, at least 1.
    """

    by_row = True

    def __init__(self, base: NegativeSampler, pool: Uninteracted, epochs: int) -> None:
        self.base, self.pool, self.epochs = base, pool, epochs

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Sample from the base, and put uniform negatives in some places."""
        negatives = self.base.sample(batch, view, generator)
        share = 1 - (batch.epoch - 1) / self.epochs
        if share <= 0:
            return negatives
        rows, n = negatives.items.shape
        if rows != len(batch.users):
            raise ConfigError(
                "there is no warm-up for negatives that the whole batch shares",
                where="sampler.warmup",
                mend="set it to 0",
            )
        device = negatives.items.device
        drawn = torch.rand((len(batch.every.users), n), generator=generator, device=device)
        here = batch.own(drawn) < share
        uniform = batch.draw(self.pool, n, generator)
        return with_items(negatives, here, uniform, view)


def with_items(negatives: Negatives, here: Tensor, items: Tensor, view: EmbeddingView) -> Negatives:
    """Put plain items in the place of some negatives, with the weight of any other.

    Parameters
    ----------
    negatives
        Of each pair by itself.
    here
        Which to replace, bool ``[B, N]``.
    items
        What to replace them by, int64 ``[B, N]``.
    view
        Where the items' embeddings are.
    """
    chosen = torch.where(here, items, negatives.items)
    changed = replace(negatives, items=chosen)
    if negatives.embeddings is not None:
        plain = lookup(view.items, chosen)
        embeddings = torch.where(here.unsqueeze(2), plain, negatives.embeddings)
        changed = replace(changed, embeddings=embeddings)
    if negatives.weights is not None:
        changed = replace(changed, weights=negatives.weights.masked_fill(here, 1.0))
    return changed
