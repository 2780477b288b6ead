"""Collaborative-filtering backbones: each turns embeddings and a graph into scores."""

from __future__ import annotations

from collections.abc import Callable

import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.backbones.alpharec import AlphaRec
from hnlmrec.backbones.contrast import Contrast
from hnlmrec.backbones.lightgcn import LightGCN
from hnlmrec.backbones.mf import MatrixFactorisation
from hnlmrec.backbones.ngcf import NGCF
from hnlmrec.backbones.protocol import Backbone
from hnlmrec.backbones.sgl import SGL
from hnlmrec.backbones.simgcl import SimGCL
from hnlmrec.backbones.xsimgcl import XSimGCL
from hnlmrec.config.models import BACKBONE_PLUGINS, BackboneConfig
from hnlmrec.errors import ConfigError
from hnlmrec.plugins import build_plugin

__all__ = [
    "BACKBONES",
    "NGCF",
    "SGL",
    "AlphaRec",
    "Backbone",
    "LightGCN",
    "MatrixFactorisation",
    "SimGCL",
    "XSimGCL",
    "build_backbone",
]

_Builder = Callable[
    [BackboneConfig, sp.csr_array, torch.Generator, torch.device | str, Tensor | None], Backbone
]


def _contrast(config: BackboneConfig) -> Contrast:
    return Contrast(config.setting("contrastive_weight"), config.setting("contrastive_temperature"))


def _given(texts: Tensor | None) -> Tensor:
    if texts is None:
        raise ConfigError(
            "this backbone is made of item texts, and none are given",
            where="backbone.name",
            mend="run `hnlmrec encode` first; name another backbone for the whole run, whose "
            "pretraining sees no texts, and this one under the models that are to have it",
        )
    return texts


BACKBONES: dict[str, _Builder] = {
    "lightgcn": lambda config, train, generator, device, texts: LightGCN(
        train, config.dim, config.layers, generator, device
    ),
    "mf": lambda config, train, generator, device, texts: MatrixFactorisation(
        train.shape, config.dim, generator, device
    ),
    "ngcf": lambda config, train, generator, device, texts: NGCF(
        train, config.dim, config.layers, config.dropout, generator, device
    ),
    "sgl": lambda config, train, generator, device, texts: SGL(
        train, config.dim, config.layers, config.dropout, _contrast(config), generator, device
    ),
    "simgcl": lambda config, train, generator, device, texts: SimGCL(
        train, config.dim, config.layers, config.setting("noise"), _contrast(config), generator,
        device,
    ),
    "xsimgcl": lambda config, train, generator, device, texts: XSimGCL(
        train, config.dim, config.layers, config.setting("noise"), config.contrastive_layer,
        _contrast(config), generator, device,
    ),
    "alpharec": lambda config, train, generator, device, texts: AlphaRec(
        train, _given(texts), config.dim, config.layers, None if config.linear else config.hidden,
        generator, device,
    ),
}  # fmt: skip


def build_backbone(
    config: BackboneConfig,
    train: sp.csr_array,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    item_vectors: Tensor | None = None,
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
    item_vectors
        Unit text vectors, float32 ``[n_items, width]``, for a backbone that is made of them.

    Raises
    ------
    ConfigError
        When they are needed and not given, or a plug-in cannot be built.
    """
    if config.name in BACKBONES:
        return BACKBONES[config.name](config, train, generator, device, item_vectors)
    given = (train, config.dim, config.layers, generator, device)
    backbone: Backbone = build_plugin(BACKBONE_PLUGINS, config.name, given, config.options)
    return backbone
