"""The negatives of one epoch under a trained model, and the catalogue items that they are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hnlmrec.config import ModelConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.evaluation.false_negatives import nearest_uninteracted
from hnlmrec.evaluation.ranking import NOTHING
from hnlmrec.negatives import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.scoring import mixed_embeddings
from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.learner import Learner, build_learner, epoch_batches
from hnlmrec.training.model import TrainedModel

_POOL_MEMBERS = 16
_CPU = torch.device("cpu")


def restored(
    trained: TrainedModel,
    config: ModelConfig,
    interactions: Interactions,
    language: LanguageArtefacts | None,
    seed: int,
) -> tuple[Learner, EmbeddingView]:
    """The learner of a trained model as it was in its best epoch, on the CPU, and what scores."""
    learner = build_learner(config, interactions, seed, language, _CPU)
    learner.load_state_dict(trained.state)
    with torch.no_grad():
        return learner, learner.view(layers=learner.needs_layers)


@torch.no_grad()
def epoch_negatives(
    learner: Learner, view: EmbeddingView, interactions: Interactions, seed: int
) -> Iterator[tuple[PairBatch, Negatives]]:
    """The batches of an epoch with the negatives that training would meet them with."""
    generator, training = torch.Generator().manual_seed(seed), learner.config.training
    last = training.epochs  # where schedules of hardness have ended
    for batch in epoch_batches(interactions, training.batch_size, generator, _CPU, last):
        yield batch, learner.sample(batch, view, generator)


def catalogue_items(
    negatives: Negatives, users: npt.NDArray[np.int64], view: EmbeddingView, data: Interactions
) -> npt.NDArray[np.int64]:
    """The catalogue items that the negatives of a batch are, or are nearest to, ``[B or 1, N]``."""
    if negatives.embeddings is None and not negatives.meets_ranking:
        return negatives.items.numpy().astype(np.int64)
    return nearest_items(mixed_embeddings(negatives, view), users, view, data)


def some_items(items: npt.NDArray[np.int64], negatives: Negatives, n: int) -> npt.NDArray[np.int64]:
    """The items of each of ``n`` pairs that FHNS counts, those of weight 0 left out.

    Of a pool that the batch shares, each pair gets a few members: FHNS needs a sample, not all.
    """
    some = slice(_POOL_MEMBERS) if len(items) < n else slice(None)
    counted = np.broadcast_to(items[:, some], (n, items[:, some].shape[1]))
    if negatives.weights is None:
        return counted
    return np.where(negatives.weights[:, some].numpy() > 0, counted, NOTHING)


def nearest_items(
    embeddings: Tensor, users: npt.NDArray[np.int64], view: EmbeddingView, data: Interactions
) -> npt.NDArray[np.int64]:
    """Nearest un-interacted item of each of a user's embeddings ``[B, N, D]``: ``[B, N]``."""
    n = embeddings.shape[1]
    found = nearest_uninteracted(
        embeddings.flatten(0, 1), np.repeat(users, n), view.items, data.train
    )
    return found[:, :1].reshape(len(users), n)
