"""What samplers pick for users of a trained run, and what its synthesised negatives stand for."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hnlmrec.config.samplers import AhnsConfig, BaseSamplerConfig, DnsConfig, MixGcfConfig
from hnlmrec.context import Context
from hnlmrec.data.interactions import Interactions
from hnlmrec.evaluation.false_negatives import nearest_uninteracted
from hnlmrec.negatives import (
    EmbeddingView,
    PairBatch,
    SamplerSetting,
    Uninteracted,
    build_sampler,
)
from hnlmrec.stage_names import train_name
from hnlmrec.studies.examples import synthesising_models
from hnlmrec.training import TrainedModel, build_learner
from hnlmrec.training.learner import Learner

NEAREST = 3  # catalogue items a synthesised negative
_BATCH = 4096
_SAMPLERS: dict[str, BaseSamplerConfig] = {
    "DNS": DnsConfig(),
    "MixGCF": MixGcfConfig(),
    "AHNS": AhnsConfig(),
}
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Picks:
    """Negatives of some training pairs, under one trained model.

    Parameters
    ----------
    model
        Its name.
    items
        Its item embeddings, float ``[n_items, D]``.
    nearest
        Un-interacted items nearest to each pair's synthesised negative, int ``[P, K]``, -1 where
        there is none; ``K`` is 0 for a model without synthesised negatives.
    cosines
        How near they are, float ``[P, K]``.
    samplers
        The item that each sampler picks, int ``[P]``, by its name. A mixture counts as the
        un-interacted item that is nearest to it, as it does for FHNS.
    """

    model: str
    items: Tensor
    nearest: Ints
    cosines: npt.NDArray[np.float32]
    samplers: dict[str, Ints] = field(default_factory=dict)


@torch.no_grad()
def pick(context: Context, index: Ints) -> Picks:
    """Draw negatives of training pairs, with the first model that has synthesised negatives.

    A run without such a model gives the reference's. Samplers have their default settings, and
    draw under the same embeddings.

    Parameters
    ----------
    context
        Of a run whose chosen model is trained with the first seed.
    index
        Positions of the pairs in ``pairs("train")``, ``[P]``.
    """
    config, data = context.config, context.interactions
    name = [*synthesising_models(config), config.evaluation.reference][0]
    seed, model = config.seeds[0], config.models[name]
    trained = TrainedModel.load(context.run.stage(train_name(name, seed)))
    language = context.language_artefacts(model)
    learner = build_learner(model, data, seed, language, torch.device("cpu"))
    learner.load_state_dict(trained.state)
    view = learner.view(layers=True)
    users, positives = (torch.from_numpy(part[index]).long() for part in data.pairs("train"))
    pairs = PairBatch(users, positives, torch.from_numpy(index))
    nearest, cosines = _synthesised(learner, pairs, view, data)
    picks = Picks(name, view.items, nearest, cosines)
    generator = torch.Generator().manual_seed(seed)
    setting = SamplerSetting(
        pool=Uninteracted(data.train),
        n=1,
        counts=np.bincount(data.train.indices, minlength=data.n_items),
        n_users=data.n_users,
        width=view.items.shape[1],
        generator=generator,
    )
    for label, sampler_config in _SAMPLERS.items():
        sampler = build_sampler(sampler_config, setting)
        found = []
        for batch in _batches(pairs):
            negatives = sampler.sample(batch, view, generator)
            if negatives.embeddings is None:
                found.append(negatives.items[:, 0].numpy())
            else:
                mixed = negatives.embeddings[:, 0]
                near = nearest_uninteracted(mixed, batch.users.numpy(), view.items, data.train)
                found.append(near[:, 0])
        picks.samplers[label] = np.concatenate(found)
    return picks


def _synthesised(
    learner: Learner, pairs: PairBatch, view: EmbeddingView, data: Interactions
) -> tuple[Ints, npt.NDArray[np.float32]]:
    """Items nearest to the synthesised negatives, and their cosines, each ``[P, K]``."""
    if learner.semantic is None:
        return np.empty((len(pairs.users), 0), np.int64), np.empty(
            (len(pairs.users), 0), np.float32
        )
    unit = normalize(view.items, dim=1)
    items, cosines = [], []
    for batch in _batches(pairs):
        vectors, present = learner.semantic.source.vectors(batch.index)
        hard = learner.semantic.adapter(vectors)
        near = nearest_uninteracted(hard, batch.users.numpy(), view.items, data.train, NEAREST)
        near[~present.numpy()] = -1
        chosen = unit[torch.from_numpy(near).clamp(min=0)]
        items.append(near)
        cosines.append(torch.einsum("pd,pkd->pk", normalize(hard, dim=1), chosen).numpy())
    return np.concatenate(items), np.concatenate(cosines)


def _batches(pairs: PairBatch) -> list[PairBatch]:
    """The pairs, some thousands at a time."""
    parts = zip(
        pairs.users.split(_BATCH), pairs.positives.split(_BATCH), pairs.index.split(_BATCH),
        strict=True,
    )  # fmt: skip
    return [PairBatch(*part) for part in parts]
