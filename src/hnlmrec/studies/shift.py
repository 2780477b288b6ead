"""How hard a sampler's negatives are, and how many of the hard ones are false."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from hnlmrec.config import ModelConfig
from hnlmrec.context import Context
from hnlmrec.data.interactions import Interactions
from hnlmrec.evaluation.membership import contains
from hnlmrec.negatives import EmbeddingView
from hnlmrec.pipeline import Pipeline
from hnlmrec.plan import Stage, model_needs
from hnlmrec.stage_names import train_name
from hnlmrec.studies.sampled import catalogue_items, epoch_negatives, restored, some_items
from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.model import TrainedModel

SHIFT = "shift.parquet"
# of percentiles; finer where negatives are hard
EDGES = (0.0, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 1.0)
_HARD = 0.95  # printed are those above
_MOST_PAIRS = 65_536
_CHUNK = 1024


def shift_name(model: str, seed: int) -> str:
    """Name of the stage that looks at the hardness of a model's negatives."""
    return f"shift/{model}-seed{seed}"


def shift_stage(model: ModelConfig, name: str, seed: int) -> Stage:
    """That stage: writes ``shift.parquet``, see `conditional_shift`."""
    trained = train_name(name, seed)

    def write(context: Context, folder: Path) -> list[str]:
        frame = conditional_shift(
            TrainedModel.load(context.run.stage(trained)),
            model,
            context.interactions,
            context.language_artefacts(model),
            seed,
        )
        frame.write_parquet(folder / SHIFT)
        hard = frame.filter(pl.col("low") >= _HARD)
        counts = hard["negatives"].to_numpy()
        false = hard["false"].fill_null(0).to_numpy() @ counts / max(counts.sum(), 1)
        return [
            f"{hard['share'].to_numpy().sum():.1%} of the negatives are among a user's hardest "
            f"{1 - _HARD:.0%}; {false:.2%} of these are held-out positives"
        ]

    needs = (*model_needs(model), trained)
    return Stage(shift_name(name, seed), needs, {"edges": list(EDGES)}, write)


def add_shift_stages(pipeline: Pipeline, name: str) -> None:
    """Add the stages for all seeds of a model of the pipeline."""
    for seed in pipeline.config.seeds:
        pipeline.add(shift_stage(pipeline.config.models[name], name, seed))


def conditional_shift(
    trained: TrainedModel,
    config: ModelConfig,
    interactions: Interactions,
    language: LanguageArtefacts | None,
    seed: int,
) -> pl.DataFrame:
    """The distribution of a negative's relevance given how hard it is (HNLMRec; our estimator).

    Negatives are those of up to 65,536 pairs of an epoch under the trained embeddings. The
    hardness of one is the share of the user's un-interacted items that score below it. Held-out
    positives are looked at after training, as by FHNS.

    Returns
    -------
    DataFrame
        A row a bin of hardness: ``bin``, its ends ``low`` and ``high``; ``share`` of the negatives
        in it; ``false``, the share of these that are the user's held-out positives (null in an
        empty bin); and ``negatives``, how many there are.
    """
    learner, view = restored(trained, config, interactions, language, seed)
    held_out = interactions.valid + interactions.test
    hardness, false, pairs = [], [], 0
    for batch, negatives in epoch_negatives(learner, view, interactions, seed):
        users = batch.users.numpy()
        items = catalogue_items(negatives, users, view, interactions)
        items = some_items(items, negatives, len(users))[: _MOST_PAIRS - pairs]
        users = users[: len(items)]
        pairs += len(users)
        hardness.append(percentiles(view, users, items, interactions).ravel())
        false.append(contains(held_out, users[:, None], items).ravel())
        if pairs == _MOST_PAIRS:
            break
    return _binned(np.concatenate(hardness), np.concatenate(false))


@torch.no_grad()
def percentiles(
    view: EmbeddingView,
    users: npt.NDArray[np.integer],
    items: npt.NDArray[np.integer],
    interactions: Interactions,
) -> npt.NDArray[np.float64]:
    """The share of a user's un-interacted items that score below an item, float ``[B, N]``.

    Parameters
    ----------
    view
        What scores.
    users
        ``[B]``.
    items
        Un-interacted items of each, ``[B, N]``; below 0 for none, which gives NaN.
    interactions
        Whose training part says what a user interacted with.
    """
    train, n_items = interactions.train, interactions.n_items
    found = np.full(items.shape, np.nan)
    free = n_items - np.diff(train.indptr)[users]
    for start in range(0, len(users), _CHUNK):
        part = slice(start, start + _CHUNK)
        scores = view.users[torch.from_numpy(users[part].astype(np.int64))] @ view.items.T
        rows = train[users[part]]
        row = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        scores[torch.from_numpy(row), torch.from_numpy(rows.indices.astype(np.int64))] = torch.inf
        below = _below(scores, torch.from_numpy(items[part].astype(np.int64)))
        found[part] = below.numpy() / free[part, None]
    return np.where(items >= 0, found, np.nan)


def _below(scores: Tensor, items: Tensor) -> Tensor:
    """How many scores of each row lie below those of its items, int64 ``[C, N]``."""
    own = scores.gather(1, items.clamp(min=0))
    return torch.searchsorted(scores.sort(dim=1).values, own)


def _binned(hardness: npt.NDArray[np.float64], false: npt.NDArray[np.bool_]) -> pl.DataFrame:
    known = ~np.isnan(hardness)
    # the hardest item of all lies below 1, so the last bin needs no end of its own
    place = np.searchsorted(EDGES, hardness[known], side="right") - 1
    n_bins = len(EDGES) - 1
    counts = np.bincount(place, minlength=n_bins)
    of_false = np.bincount(place, false[known], minlength=n_bins)
    frame = pl.DataFrame(
        {
            "bin": np.arange(n_bins, dtype=np.int32),
            "low": EDGES[:-1],
            "high": EDGES[1:],
            "negatives": counts,
            "share": counts / max(counts.sum(), 1),
            "false": of_false / np.maximum(counts, 1),
        }
    )
    return frame.with_columns(pl.when(pl.col("negatives") > 0).then("false").alias("false"))
