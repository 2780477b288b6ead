"""KAR."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnlmrec.baselines.protocol import Baseline, BaselineSetting
from hnlmrec.config.baselines import KarConfig
from hnlmrec.perceptron import seeded_linear


class Kar(Baseline):
    """A hybrid-expert adaptor from texts of profiles to what is added to layer-0 embeddings.

    Xi et al., "Towards Open-World Recommendation with Knowledge Augmentation from Large Language
    Models", RecSys 2024: with ``z`` the text vector of a user's profile, the experts ``E_k`` that
    users and items share and those of users alone, and a gate of users' own,
    ``alpha = softmax(W z)`` and ``v = sum_k alpha_k E_k(z)``; likewise for items. An expert is a
    perceptron of two layers. Here ``e^(0) <- e^(0) + v``, and the backbone goes on from there.

    Left out: KAR adds features to a click model; a backbone of embeddings has no place for those,
    so ``v`` is added. Its factorisation prompts are replaced by the profiles that all models here
    read. Cost per batch: each expert over all its nodes, and their gradient.
    """

    changes_layer0 = True

    def __init__(self, config: KarConfig, setting: BaselineSetting) -> None:
        super().__init__()
        texts = setting.texts
        self.texts = texts
        width, generator = texts.items.shape[1], setting.generator

        def experts(n: int) -> Experts:
            return Experts(n, width, config.hidden, setting.dim, generator)

        self.shared = experts(config.shared)
        self.of_users, self.of_items = experts(config.dedicated), experts(config.dedicated)
        n = config.shared + config.dedicated
        self.user_gate = seeded_linear(width, n, generator)
        self.item_gate = seeded_linear(width, n, generator)

    def layer0(self, table: Tensor, generator: torch.Generator | None) -> Tensor:
        """Add what the experts make of texts; see `Baseline.layer0`."""
        users = self._mixed(self.texts.users, self.of_users, self.user_gate)
        items = self._mixed(self.texts.items, self.of_items, self.item_gate)
        return table + torch.cat([users, items])

    def _mixed(self, texts: Tensor, dedicated: Experts, gate: nn.Linear) -> Tensor:
        scaled = texts * math.sqrt(texts.shape[1])
        shares = torch.softmax(gate(scaled), dim=1)
        said = torch.cat([self.shared(scaled), dedicated(scaled)])
        return torch.einsum("nk,knd->nd", shares, said)


class Experts(nn.Module):
    """Several perceptrons of two layers, side by side.

    Parameters
    ----------
    n
        How many.
    width, hidden, dim
        Sizes of an input, between, and of an output.
    generator
        Source of the initial weights, on the CPU.
    """

    def __init__(
        self, n: int, width: int, hidden: int, dim: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.inner = _weights(n, width, hidden, generator)
        self.outer = _weights(n, hidden, dim, generator)

    def forward(self, texts: Tensor) -> Tensor:
        """Map ``[N, width]`` to ``[n, N, dim]``."""
        return F.leaky_relu(texts @ self.inner) @ self.outer


def _weights(n: int, rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    bound = 1 / math.sqrt(rows)
    return nn.Parameter(torch.empty(n, rows, columns).uniform_(-bound, bound, generator=generator))
