"""Collaborative-filtering backbones: each turns embeddings and a graph into scores."""

from __future__ import annotations

from collections.abc import Callable

import scipy.sparse as sp
import torch

from hnlmrec.backbones.lightgcn import LightGCN
from hnlmrec.backbones.mf import MatrixFactorisation
from hnlmrec.backbones.protocol import Backbone
from hnlmrec.config import BackboneConfig

__all__ = ["BACKBONES", "Backbone", "LightGCN", "MatrixFactorisation", "build_backbone"]

_Builder = Callable[[BackboneConfig, sp.csr_array, torch.Generator, torch.device | str], Backbone]

BACKBONES: dict[str, _Builder] = {
    "lightgcn": lambda config, train, generator, device: LightGCN(
        train, config.dim, config.layers, generator, device
    ),
    "mf": lambda config, train, generator, device: MatrixFactorisation(
        train.shape, config.dim, generator, device
    ),
}


def build_backbone(
    config: BackboneConfig,
    train: sp.csr_array,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Build the backbone that ``config`` describes, with initial parameters.

    Parameters
    ----------
    config
        Which backbone, and its size.
    train
        Training interactions, CSR ``[n_users, n_items]``.
    generator
        Source of the initial values, on the CPU.
    device
        Where the parameters live.
    """
    return BACKBONES[config.name](config, train, generator, device)
