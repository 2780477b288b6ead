"""The negatives of the pairs that one of several processes takes of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from hnlmrec.negatives.protocol import EmbeddingView, Negatives, NegativeSampler, PairBatch


def chain(sampler: NegativeSampler) -> Iterator[NegativeSampler]:
    """A sampler, the one it stands on, and so on."""
    yield sampler
    base = getattr(sampler, "base", None)
    if base is not None:
        yield from chain(base)


def is_by_row(sampler: NegativeSampler) -> bool:
    """Whether it, and what it stands on, can sample for some pairs of a batch alone."""
    # what a subclass does with the draws is not known
    return all(vars(type(one)).get("by_row", False) for one in chain(sampler))


def sample_part(
    sampler: NegativeSampler, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
) -> Negatives:
    """Negatives of a batch, or of a part of one: those that one process has for these pairs.

    A loss of the sampler's own is that of these pairs where it `is_by_row`, else of all.
    """
    if batch.whole is None or is_by_row(sampler):
        return sampler.sample(batch, view, generator)
    every = sampler.sample(batch.whole, view, generator)
    n = len(batch.whole.users)

    def own(rows: Tensor | None) -> Tensor | None:
        return rows if rows is None or len(rows) != n else batch.own(rows)

    items = own(every.items)
    assert items is not None
    mine = replace(
        every,
        items=items,
        embeddings=own(every.embeddings),
        weights=own(every.weights),
        lengths=own(every.lengths),
    )
    if every.texts is not None:
        # these meet the texts of the whole batch
        return mine
    return replace(mine, synthesised=own(every.synthesised), present=own(every.present))
