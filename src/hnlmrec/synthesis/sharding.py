"""A language model whose frozen weights lie spread over several devices, by torch's FSDP2."""

from __future__ import annotations

import torch
from torch import nn

from hnlmrec.config import LanguageConfig
from hnlmrec.device import pick_device, pick_dtype
from hnlmrec.distributed import World
from hnlmrec.errors import ConfigError, ModelError
from hnlmrec.language.local import LocalLanguageModel


def load_sharded(config: LanguageConfig, world: World) -> LocalLanguageModel:
    """Load the configured model, each process a part of each layer onto its device.

    A layer is whole on a device only while it is computed. All processes must encode together: as
    many batches, at the same time. The model is read into each machine's memory first, and the
    embeddings of tokens stay whole on each device. LoRA is put in later, and is not spread.

    Raises
    ------
    ConfigError
        When the weights are packed, and cannot be taken apart.
    ModelError
        When the model is absent, damaged or not one, or has no layers that are known.
    """
    if config.dtype == "4bit":
        raise ConfigError(
            "weights in 4 bits cannot be spread over devices",
            where="synthesis.finetune.shard",
            mend="set it to false, or language.dtype to bfloat16",
        )
    device = pick_device(config.device)
    dtype = str(pick_dtype(config.dtype, device)).removeprefix("torch.")
    language = LocalLanguageModel.load(
        config.model_copy(update={"device": "cpu", "dtype": dtype}),
    )
    _shard(language, device, world)
    return language


def _shard(language: LocalLanguageModel, device: torch.device, world: World) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    body = language.model.requires_grad_(False)
    # what transformers itself never cuts in two
    whole = set(getattr(body, "_no_split_modules", None) or ())
    layers = [module for module in body.modules() if type(module).__name__ in whole]
    if not layers:
        raise ModelError(
            f"it is not known what the layers of {type(body).__name__} are",
            where="synthesis.finetune.shard",
            mend="set it to false",
        )
    mesh = init_device_mesh(device.type, (world.size,))
    # queries are put together from them outside of the model's own pass
    embeddings: nn.Module = language.input_embeddings.to(device)
    ignored = set(embeddings.parameters())
    for layer in layers:
        fully_shard(layer, mesh=mesh, ignored_params=ignored)
    fully_shard(body, mesh=mesh, ignored_params=ignored)
