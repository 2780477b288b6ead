"""A perceptron of two layers from text vectors to embeddings, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init


class Perceptron(nn.Module):
    """``W2 leaky_relu(W1 x + b1) + b2``, or without a hidden layer ``W x``.

    Parameters
    ----------
    width
        Size of an input.
    dim
        Size of an output.
    hidden
        Size between; None for the linear map alone.
    generator
        Source of the initial weights, on the CPU.
    unit
        Whether inputs are of unit length: they are then scaled to entries of about 1.
    """

    def __init__(
        self,
        width: int,
        dim: int,
        hidden: int | None,
        generator: torch.Generator,
        *,
        unit: bool = True,
    ) -> None:
        super().__init__()
        self.scale = math.sqrt(width) if unit else 1.0
        self.inner = None if hidden is None else seeded_linear(width, hidden, generator)
        self.outer = seeded_linear(hidden or width, dim, generator, bias=hidden is not None)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map ``[..., width]`` to ``[..., dim]``."""
        scaled = vectors * self.scale
        if self.inner is not None:
            scaled = F.leaky_relu(self.inner(scaled))
        output: Tensor = self.outer(scaled)
        return output


def seeded_linear(
    width: int, dim: int, generator: torch.Generator, *, bias: bool = True
) -> nn.Linear:
    """A linear layer with initial weights as torch draws them, from a generator of one's own."""
    layer: nn.Linear = skip_init(nn.Linear, width, dim, bias=bias)
    bound = 1 / math.sqrt(width)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
