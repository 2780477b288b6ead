"""The amortized head: h(u, i) of any pair from states of the user and of the item."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FusionHead(nn.Module):
    """A tower each for the user and the item, their product, and a perceptron to the LLM's width.

    Parameters
    ----------
    width
        Size of a state of the language model, and of the output.
    dim
        Size of a CF embedding; 0 leaves them out.
    hidden
        Width of the towers.
    """

    def __init__(self, width: int, dim: int, hidden: int = 256) -> None:
        super().__init__()
        self.user = nn.Sequential(nn.Linear(width + dim, hidden), nn.LayerNorm(hidden), nn.GELU())
        self.item = nn.Sequential(nn.Linear(width + dim, hidden), nn.LayerNorm(hidden), nn.GELU())
        self.out = nn.Sequential(
            nn.Linear(3 * hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, width)
        )

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        """Fuse inputs made by `head_input`, each ``[B, width + dim]``, to ``[B, width]``."""
        a, b = self.user(user), self.item(item)
        fused: Tensor = self.out(torch.cat([a, b, a * b], dim=1))
        return fused


def fuse(
    head: FusionHead,
    states: tuple[Tensor, Tensor],
    embeddings: tuple[Tensor, Tensor],
    centres: Tensor,
    *,
    collaborative: bool,
) -> Tensor:
    """h(u, i), float32 ``[B, width]``.

    Parameters
    ----------
    states
        Of the pairs' users and of their items, each ``[B, width]``.
    embeddings
        Their CF embeddings, each ``[B, dim]``.
    centres
        Mean states of users and of items, ``[2, width]``.
    collaborative
        Whether CF embeddings enter.
    """
    inputs = (
        head_input(part, embedding, centre, collaborative=collaborative)
        for part, embedding, centre in zip(states, embeddings, centres, strict=True)
    )
    fused: Tensor = head(*inputs)
    return fused


def head_input(
    states: Tensor, embeddings: Tensor, centre: Tensor, *, collaborative: bool
) -> Tensor:
    """What a tower reads: the state less the mean state, and the CF embedding, at unit scale.

    Parameters
    ----------
    states
        States of users or items, float ``[B, width]``.
    embeddings
        Their CF embeddings, float ``[B, dim]``.
    centre
        Mean state of their kind, float ``[width]``. States share a large common part, which
        would drown the differences.
    collaborative
        Whether CF embeddings enter.
    """
    scaled: Tensor = F.normalize(states - centre, dim=1) * states.shape[1] ** 0.5
    if not collaborative:
        return scaled
    unit = F.normalize(embeddings, dim=1) * embeddings.shape[1] ** 0.5
    return torch.cat([scaled, unit], dim=1)
