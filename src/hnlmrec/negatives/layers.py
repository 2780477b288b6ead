"""Negatives made of the layers of a backbone."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.negatives.protocol import EmbeddingView


def layers_of(view: EmbeddingView) -> tuple[EmbeddingView, ...]:
    """The layers of a view, 0 first; the view itself when it has none."""
    return view.layers or (view,)


def concatenates(view: EmbeddingView) -> bool:
    """Whether the embeddings are the layers side by side, and not their mean."""
    layers = layers_of(view)
    return len(layers) > 1 and view.items.shape[1] == sum(one.items.shape[1] for one in layers)


def pool_layers(rows: list[Tensor], view: EmbeddingView) -> Tensor:
    """Make embeddings of rows of each layer, as the backbone of ``view`` does.

    Parameters
    ----------
    rows
        Float ``[..., D]`` of each layer.
    view
        The embeddings and their layers.

    Returns
    -------
    Tensor
        Their mean, or the rows side by side when the view has them so.
    """
    if concatenates(view):
        return torch.cat(rows, dim=-1)
    return torch.stack(rows).mean(dim=0)
