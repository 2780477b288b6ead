"""Assessment of a trained model: metrics on test, and the share of false hard negatives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel
from torch import Tensor

from hnlmrec.artifacts import write_atomically
from hnlmrec.config import EvaluationConfig, ModelConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.evaluation.evaluate import evaluate
from hnlmrec.evaluation.false_negatives import fhns_rate, nearest_uninteracted
from hnlmrec.evaluation.gradient_bias import GradientBias, without_false
from hnlmrec.evaluation.ranking import NOTHING
from hnlmrec.negatives import EmbeddingView, Negatives
from hnlmrec.negatives.scoring import mixed_embeddings
from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.learner import build_learner, epoch_batches
from hnlmrec.training.model import TrainedModel

PER_USER = "per_user.parquet"
_POOL_MEMBERS = 16


class Assessment(BaseModel):
    """Means of the metrics over test users, FHNS rates relative to a uniform sampler, and bias.

    ``fhns`` holds ``used``, of the negatives as the ranking loss saw them, and for a model with
    synthesised negatives ``synthesised``, of these alone. ``gradient`` is what `GradientBias`
    measures.
    """

    metrics: dict[str, float]
    fhns: dict[str, float]
    gradient: dict[str, float] = {}

    def lines(self) -> list[str]:
        """What to print."""
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        rates = ", ".join(f"{name} {value:.2f}" for name, value in self.fhns.items())
        bias = ", ".join(f"{name} {value:.4f}" for name, value in self.gradient.items())
        return [
            metrics,
            f"false hard negatives, times a uniform sampler's: {rates}",
            f"gradient, against that without false hard negatives: {bias}",
        ]


def assess(
    trained: TrainedModel,
    config: ModelConfig,
    interactions: Interactions,
    language: LanguageArtefacts | None,
    seed: int,
    evaluation: EvaluationConfig,
    folder: Path,
) -> Assessment:
    """Measure on the test part; write ``per_user.parquet`` and ``assessment.json``.

    This is the only place where test interactions are read, after training has ended.
    """
    rows = evaluate(trained.view, interactions, "test", evaluation.cutoffs, evaluation.chunk_users)
    rows.save(folder / PER_USER)
    fhns, gradient = diagnose(trained, config, interactions, language, seed)
    assessment = Assessment(metrics=rows.means(), fhns=fhns, gradient=gradient)
    write_atomically(folder / "assessment.json", assessment.model_dump_json(indent=1).encode())
    return assessment


def diagnose(
    trained: TrainedModel,
    config: ModelConfig,
    interactions: Interactions,
    language: LanguageArtefacts | None,
    seed: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """FHNS rates and gradient bias of one epoch's negatives, drawn under the trained embeddings.

    A negative that is an embedding counts as the catalogue item that is nearest to it in CF space
    among those that the user did not interact with in training.
    """
    device = torch.device("cpu")
    learner = build_learner(config, interactions, seed, language, device)
    learner.load_state_dict(trained.state)
    with torch.no_grad():
        view = learner.view(layers=learner.needs_layers)
    generator = torch.Generator().manual_seed(seed)
    last = config.training.epochs  # where schedules of hardness have ended
    held_out = interactions.valid + interactions.test
    bias = GradientBias(view, learner.ranking_loss)
    users, used, of_users, synthesised = [], [], [], []
    for batch in epoch_batches(interactions, config.training.batch_size, generator, device, last):
        with torch.no_grad():
            negatives = learner.sample(batch, view, generator)
        rows = batch.users.numpy()
        items = _catalogue_items(negatives, rows, view, interactions)
        users.append(rows)
        used.append(_some(items, negatives, len(rows)))
        more = None
        if negatives.synthesised is not None:
            some = rows[: len(negatives.synthesised)]
            of_users.append(some)
            synthesised.append(_nearest(negatives.synthesised, some, view, interactions))
            more = synthesised[-1] if negatives.extra > 0 else None
        bias.add(batch, negatives, without_false(negatives, items, more, rows, held_out))
    who = np.concatenate(users)
    rates = {"used": fhns_rate(np.concatenate(used), who, held_out, interactions.train).ratio}
    if synthesised:
        picked, who = np.concatenate(synthesised), np.concatenate(of_users)
        rates["synthesised"] = fhns_rate(picked, who, held_out, interactions.train).ratio
    return rates, bias.measures()


def _catalogue_items(
    negatives: Negatives, users: npt.NDArray[np.int64], view: EmbeddingView, data: Interactions
) -> npt.NDArray[np.int64]:
    """The catalogue items that the negatives of a batch are, or are nearest to, ``[B or 1, N]``."""
    if negatives.embeddings is None and not negatives.meets_ranking:
        return negatives.items.numpy().astype(np.int64)
    return _nearest(mixed_embeddings(negatives, view), users, view, data)


def _some(items: npt.NDArray[np.int64], negatives: Negatives, n: int) -> npt.NDArray[np.int64]:
    """The items of each of ``n`` pairs that FHNS counts, those of weight 0 left out.

    Of a pool that the batch shares, each pair gets a few members: FHNS needs a sample, not all.
    """
    some = slice(_POOL_MEMBERS) if len(items) < n else slice(None)
    counted = np.broadcast_to(items[:, some], (n, items[:, some].shape[1]))
    if negatives.weights is None:
        return counted
    return np.where(negatives.weights[:, some].numpy() > 0, counted, NOTHING)


def _nearest(
    embeddings: Tensor, users: npt.NDArray[np.int64], view: EmbeddingView, data: Interactions
) -> npt.NDArray[np.int64]:
    """Nearest un-interacted item of each of a user's embeddings ``[B, N, D]``: ``[B, N]``."""
    n = embeddings.shape[1]
    found = nearest_uninteracted(
        embeddings.flatten(0, 1), np.repeat(users, n), view.items, data.train
    )
    return found[:, :1].reshape(len(users), n)
