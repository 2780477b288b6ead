"""A learner: backbone, sampler and losses of one model, put together from its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hnlmrec.alignment import Adapter, ItemAlignment
from hnlmrec.backbones import Backbone, build_backbone
from hnlmrec.config import ModelConfig, SemanticConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ConfigError
from hnlmrec.losses import RANKING_LOSSES, contrastive
from hnlmrec.negatives import NegativeSampler, PairBatch, Uninteracted, build_base, lookup
from hnlmrec.negatives.semantic import Semantic
from hnlmrec.synthesis.controls import build_source
from hnlmrec.synthesis.store import NegativeStore


@dataclass(frozen=True)
class LanguageArtefacts:
    """What CF training takes from the language stages.

    Parameters
    ----------
    store
        The synthesised negatives of the training pairs.
    item_vectors
        Unit text vectors of all items, float32 ``[n_items, width]``, in the store's space.
    """

    store: NegativeStore
    item_vectors: Tensor


class Learner(nn.Module):
    """Everything that a training step needs.

    Parameters
    ----------
    backbone
        The CF model.
    sampler
        Chooses negatives.
    config
        The model's configuration.
    alignment
        Alignment of the adapter on items, when there is one; its adapter is trained too.
    """

    def __init__(
        self,
        backbone: Backbone,
        sampler: NegativeSampler,
        config: ModelConfig,
        alignment: ItemAlignment | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.adapter = alignment.adapter if alignment else None
        self.sampler = sampler
        self.alignment = alignment
        self.config = config
        self.ranking_loss = RANKING_LOSSES[config.training.loss]

    def loss(
        self, batch: PairBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch: ranking + lambda_cl * contrastive + alignment + L2.

        Returns
        -------
        tuple[Tensor, dict[str, Tensor]]
            The scalar to minimise, and its parts and counts, detached, by name.
        """
        view = self.backbone.embeddings()
        negatives = self.sampler.sample(batch, view, generator)
        users = lookup(view.users, batch.users)
        positives = lookup(view.items, batch.positives)
        parts = {"ranking": self.ranking_loss(users, positives, negatives.embeddings)}
        parts["l2"] = self.config.training.l2 * self.backbone.l2(
            batch.users, batch.positives, negatives.items
        )
        counts = {}
        semantic = self.config.sampler
        if isinstance(semantic, SemanticConfig) and negatives.synthesised is not None:
            present = negatives.present
            assert present is not None
            counts["missing"] = (~present).sum()
            if semantic.contrastive_weight > 0 and present.any():
                parts["contrastive"] = semantic.contrastive_weight * contrastive(
                    users[present],
                    positives[present],
                    negatives.synthesised[present],
                    semantic.contrastive_temperature,
                )
        if self.alignment is not None and self.alignment.config.weight > 0:
            parts["alignment"] = self.alignment.loss(batch.positives, view.items)
        total = torch.stack(list(parts.values())).sum()
        logged = {name: value.detach() for name, value in (parts | counts).items()}
        return total, logged


def build_learner(
    config: ModelConfig,
    interactions: Interactions,
    seed: int,
    language: LanguageArtefacts | None,
    device: torch.device,
) -> Learner:
    """Put together what ``config`` describes, with initial parameters from ``seed``.

    Raises
    ------
    ConfigError
        When the model needs the language stages and they are not given.
    """
    generator = torch.Generator().manual_seed(seed)
    backbone = build_backbone(config.backbone, interactions.train, generator, device)
    pool = Uninteracted(interactions.train, device)
    sampler = config.sampler
    base_config = sampler.base if isinstance(sampler, SemanticConfig) else sampler
    base = build_base(base_config, pool, config.training.negatives)
    if not config.needs_language:
        return Learner(backbone, base, config)
    if language is None:
        raise ConfigError(
            "this model uses synthesised negatives or item texts, and none are given",
            where=f"sampler.name {sampler.name!r}, alignment.weight {config.alignment.weight:g}",
            mend="run `hnlmrec synthesize` first",
        )
    item_vectors = language.item_vectors.to(device)
    adapter = Adapter(
        item_vectors.shape[1], config.backbone.dim, config.alignment.hidden, generator
    ).to(device)
    alignment = ItemAlignment(adapter, item_vectors, config.alignment)
    if not isinstance(sampler, SemanticConfig):
        return Learner(backbone, base, config, alignment)
    source = build_source(sampler.source, language.store, interactions.train.nnz, generator)
    return Learner(backbone, Semantic(base, source, adapter, sampler), config, alignment)


def epoch_batches(
    interactions: Interactions, batch_size: int, generator: torch.Generator, device: torch.device
) -> Iterator[PairBatch]:
    """All training pairs once, in random order.

    Parameters
    ----------
    generator
        On the CPU, so that an order belongs to a seed on every device.
    """
    users, items = (torch.from_numpy(part.astype("int64")) for part in interactions.pairs())
    for index in torch.randperm(len(users), generator=generator).split(batch_size):
        yield PairBatch(users[index].to(device), items[index].to(device), index.to(device))
