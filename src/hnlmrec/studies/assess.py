"""Assessment of a trained model: metrics on test, and the share of false hard negatives."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, BeforeValidator

from hnlmrec.config import EvaluationConfig, ModelConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.disk import write_atomically
from hnlmrec.distributed import ALONE, World
from hnlmrec.evaluation.evaluate import evaluate
from hnlmrec.evaluation.false_negatives import fhns_rate
from hnlmrec.evaluation.gradient_bias import GradientBias, without_false
from hnlmrec.studies.sampled import (
    catalogue_items,
    epoch_negatives,
    nearest_items,
    restored,
    some_items,
)
from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.model import TrainedModel

PER_USER, HITS = "per_user.parquet", "hits.parquet"


# JSON has no NaN or infinity, which a measure of nothing is: they are written as null
Measure = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]


class Assessment(BaseModel):
    """Means of the metrics over test users, FHNS rates relative to a uniform sampler, and bias.

    ``fhns`` holds ``used``, of the negatives as the ranking loss saw them, and for a model with
    synthesised negatives ``synthesised``, of these alone. ``gradient`` is what `GradientBias`
    measures.
    """

    metrics: dict[str, Measure]
    fhns: dict[str, Measure]
    gradient: dict[str, Measure] = {}

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
    world: World = ALONE,
) -> Assessment:
    """Measure on the test part; write ``per_user.parquet``, ``hits.parquet``, ``assessment.json``.

    This is the only place where test interactions are read, after training has ended. Several
    processes share the ranking out; the first diagnoses and writes, and the others' assessment has
    the metrics alone.
    """
    rows = evaluate(
        trained.view, interactions, "test", evaluation.cutoffs, evaluation.chunk_users, world
    )
    if not world.is_first:
        return Assessment(metrics=rows.means(), fhns={})
    rows.save(folder / PER_USER)
    assert rows.hits is not None
    rows.hits.write_parquet(folder / HITS)
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
    held_out = interactions.valid + interactions.test
    learner, view = restored(trained, config, interactions, language, seed)
    bias = GradientBias(view, learner.ranking_loss)
    users, used, of_users, synthesised = [], [], [], []
    for batch, negatives in epoch_negatives(learner, view, interactions, seed):
        rows = batch.users.numpy()
        items = catalogue_items(negatives, rows, view, interactions)
        users.append(rows)
        used.append(some_items(items, negatives, len(rows)))
        more = None
        if negatives.synthesised is not None:
            some = rows[: len(negatives.synthesised)]
            of_users.append(some)
            synthesised.append(nearest_items(negatives.synthesised, some, view, interactions))
            more = synthesised[-1] if negatives.extra > 0 else None
        bias.add(batch, negatives, without_false(negatives, items, more, rows, held_out))
    who = np.concatenate(users)
    rates = {"used": fhns_rate(np.concatenate(used), who, held_out, interactions.train).ratio}
    if synthesised:
        picked, who = np.concatenate(synthesised), np.concatenate(of_users)
        rates["synthesised"] = fhns_rate(picked, who, held_out, interactions.train).ratio
    return rates, bias.measures()
