"""A learner: backbone, sampler and losses of one model, put together from its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hnlmrec.alignment import Adapter, Extra, TextAlignment
from hnlmrec.backbones import Backbone
from hnlmrec.baselines import Baseline, build_baseline
from hnlmrec.config import ModelConfig, SemanticConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.losses import build_loss, contrastive
from hnlmrec.negatives import (
    EmbeddingView,
    Negatives,
    NegativeSampler,
    PairBatch,
    SamplerSetting,
    Uninteracted,
    build_sampler,
    lookup,
)
from hnlmrec.negatives.parts import chain, is_by_row, sample_part
from hnlmrec.negatives.scoring import score_batch
from hnlmrec.negatives.semantic import Semantic
from hnlmrec.synthesis.controls import build_source
from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.direct import direct_step
from hnlmrec.training.division import UNDIVIDED, Division


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
        What the adapter is aligned on, when there is one; the adapter is trained too.
    baseline
        What else it takes from texts, if anything; it is trained too.
    division
        What of a step is this process's, of several.
    """

    def __init__(
        self,
        backbone: Backbone,
        sampler: NegativeSampler,
        config: ModelConfig,
        alignment: TextAlignment | None = None,
        baseline: Baseline | None = None,
        division: Division = UNDIVIDED,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.baseline = baseline
        self.adapter = alignment.adapter if alignment else None
        each = list(chain(sampler))
        # in a tuple: what has state is registered once, below
        self._sampler = (sampler,)
        self.sampler_state = nn.ModuleList(one for one in each if isinstance(one, nn.Module))
        self.semantic = next((one for one in each if isinstance(one, Semantic)), None)
        self.needs_layers = any(getattr(one, "needs_layers", False) for one in each)
        self.alignment = alignment
        self.config = config
        self.ranking_loss = build_loss(config.loss, backbone.n_items)
        self.cosine = config.loss.similarity == "cosine"
        self.division = division
        self.direct = direct_step(config, backbone, sampler, self.ranking_loss, division)
        division.check(self.direct is not None)

    @property
    def sampler(self) -> NegativeSampler:
        """What chooses the negatives."""
        return self._sampler[0]

    def view(
        self, generator: torch.Generator | None = None, *, layers: bool = False
    ) -> EmbeddingView:
        """What the loss and the evaluation score with: at unit length when the loss sees cosines.

        Parameters
        ----------
        generator
            Source of the backbone's dropout and noise; None for evaluation.
        layers
            Whether to give the layers too.
        """
        return self._view(self._layer0(generator), generator, layers)

    def _view(
        self, table: Tensor | None, generator: torch.Generator | None, layers: bool
    ) -> EmbeddingView:
        with self.backbone.reading(table):
            view = self.backbone.embeddings(generator, layers=layers)
        if self.division.has_columns:
            view = replace(view, summed_over=self.division.world)
        return view.normalised() if self.cosine else view

    def _layer0(self, generator: torch.Generator | None) -> Tensor | None:
        """What the baseline lets the backbone read; None for its own table."""
        if self.baseline is None or not self.baseline.changes_layer0:
            return None
        return self.baseline.layer0(self.backbone.table, generator)

    def step(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Set the gradients of all parameters to those of the `loss` of a batch; return its parts.

        Several processes take some pairs each, and sum up.
        """
        if self.direct is not None:
            return self.direct.step(batch, generator)
        self.zero_grad(set_to_none=True)
        loss, parts = self.loss(self.division.part(batch), generator)
        loss.backward()
        return self.division.sum_gradients(self.parameters(), parts)

    def loss(
        self, batch: PairBatch, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch: the ranking loss, L2, and what sampler, backbone and text add.

        Of a part of a batch, it is this process's share of that: what compares nodes or texts of a
        batch with one another is computed for the whole batch everywhere, as all have its pairs.

        Returns
        -------
        tuple[Tensor, dict[str, Tensor]]
            The scalar to minimise, and its parts and counts, detached, by name.
        """
        table = self._layer0(generator)
        view = self._view(table, generator, self.needs_layers)
        negatives = self.sample(batch, view, generator)
        every, even, weight = batch.every, self.division.even, self.division.weight(batch)
        parts = {"ranking": weight * self.ranking_loss(*score_batch(batch, negatives, view))}
        parts["l2"] = self._l2(batch, negatives)
        if negatives.loss is not None:
            parts["sampler"] = (weight if is_by_row(self.sampler) else even) * negatives.loss
        with self.backbone.reading(table):
            auxiliary = self.backbone.auxiliary(every, view, generator)
        if auxiliary is not None:
            parts["auxiliary"] = even * auxiliary
        counts = {}
        if negatives.present is not None:
            missing = (~negatives.present[:, 0]).sum()
            of_all = batch.whole is None or negatives.texts is not None
            counts["missing"] = even * missing if of_all else missing
            contrast = self._contrastive(batch, negatives, view)
            if contrast is not None:
                parts["contrastive"] = contrast
        if self.alignment is not None and self.alignment.config.active:
            parts["alignment"] = even * self.alignment.loss(
                every.users, every.positives, view, self._extra_texts(negatives)
            )
        if self.baseline is not None:
            own = self.baseline.loss(every, view)
            if own is not None:
                parts["baseline"] = even * own
        total = torch.stack(list(parts.values())).sum()
        logged = {name: value.detach() for name, value in (parts | counts).items()}
        return total, logged

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Negatives as the ranking loss sees them; see `NegativeSampler`."""
        negatives = sample_part(self.sampler, batch, view, generator)
        if self.cosine and negatives.embeddings is not None:
            return replace(negatives, embeddings=normalize(negatives.embeddings, dim=-1))
        return negatives

    def _l2(self, batch: PairBatch, negatives: Negatives) -> Tensor:
        """L2 of the layer-0 rows of a batch."""
        weight = self.division.weight(batch)
        if len(negatives.items) != len(batch.users):
            # all pairs share these, and they count once
            batch, weight = batch.every, self.division.even
        found = self.backbone.l2(batch.users, batch.positives, negatives.items)
        return weight * self.config.training.l2 * found

    def _extra_texts(self, negatives: Negatives) -> Extra | None:
        if negatives.texts is None:
            return None
        assert isinstance(self.config.sampler, SemanticConfig)
        assert negatives.present is not None
        config = self.config.sampler
        return Extra(negatives.texts, negatives.present, config.weight, config.shared)

    def _contrastive(
        self, batch: PairBatch, negatives: Negatives, view: EmbeddingView
    ) -> Tensor | None:
        """lambda_cl * L_CL over the pairs and the synthesised negatives that they have."""
        config, present = self.config.sampler, negatives.present
        assert isinstance(config, SemanticConfig)
        assert present is not None
        assert negatives.synthesised is not None
        if config.contrastive_weight == 0:
            return None
        some, n = batch if negatives.texts is None else batch.every, present.sum().float()
        total = self.division.world.sum(n.clone())
        if total == 0:
            return None
        if n == 0:
            return n
        pair, weight = present.nonzero()[:, 0], config.contrastive_weight * (n / total)
        return weight * contrastive(
            lookup(view.users, some.users[pair]),
            lookup(view.items, some.positives[pair]),
            negatives.synthesised[present],
            config.contrastive_temperature,
        )


def build_learner(
    config: ModelConfig,
    interactions: Interactions,
    seed: int,
    language: LanguageArtefacts | None,
    device: torch.device,
    division: Division = UNDIVIDED,
) -> Learner:
    """Put together what ``config`` describes, with initial parameters from ``seed``.

    Raises
    ------
    ConfigError
        When the model needs the language stages and they are not given, or cannot be divided so.
    """
    generator = torch.Generator().manual_seed(seed)
    given = (language or LanguageArtefacts()).on(device)
    given.check(config)
    item_vectors = given.item_vectors
    backbone = division.build_backbone(
        config.backbone, interactions, generator, device, item_vectors
    )
    pool = Uninteracted(interactions.train, device)
    sampler = config.sampler
    setting = SamplerSetting(
        pool=pool,
        n=config.training.negatives,
        counts=np.bincount(interactions.train.indices, minlength=interactions.n_items),
        n_users=interactions.n_users,
        width=backbone.width,
        generator=generator,
        device=device,
        item_vectors=item_vectors,
        user_vectors=given.user_vectors,
    )
    base = build_sampler(config.base_sampler, setting)
    baseline = None
    if config.baseline is not None:
        baseline = build_baseline(config.baseline, given.for_baseline(backbone, generator)).to(
            device
        )
    if not config.needs_adapter:
        return Learner(backbone, base, config, baseline=baseline, division=division)
    assert item_vectors is not None
    adapter = Adapter(item_vectors.shape[1], backbone.width, config.alignment, generator)
    alignment = TextAlignment(adapter.to(device), item_vectors, config.alignment, pool)
    if not isinstance(sampler, SemanticConfig):
        return Learner(backbone, base, config, alignment, baseline, division)
    source = build_source(
        sampler.source, given.source, item_vectors.shape[1], interactions.train.nnz, generator
    )
    most = config.alignment.max_items
    semantic = Semantic(base, source, adapter, sampler, pool.indptr, most)
    return Learner(backbone, semantic, config, alignment, baseline, division)


def epoch_batches(
    interactions: Interactions,
    batch_size: int,
    generator: torch.Generator,
    device: torch.device,
    epoch: int = 1,
) -> Iterator[PairBatch]:
    """All training pairs once, in random order.

    Parameters
    ----------
    generator
        On the CPU, so that an order belongs to a seed on every device.
    epoch
        The batches' epoch, from 1.
    """
    users, items, order = epoch_pairs(interactions, generator)
    for start in range(0, len(order), batch_size):
        part = slice(start, start + batch_size)
        yield PairBatch(
            users[part].to(device), items[part].to(device), order[part].to(device), epoch
        )


def epoch_pairs(
    interactions: Interactions, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Users and items of the training pairs in random order, and that order; int64 ``[nnz]``."""
    users, items = (torch.from_numpy(part) for part in interactions.pairs())
    order = torch.randperm(len(users), generator=generator)
    # the whole order at once: many small gathers cost more than a large one
    return users[order].long(), items[order].long(), order
