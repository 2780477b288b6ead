"""What the cells of a study measured, as tidy tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hnlmrec.artifacts import write_atomically
from hnlmrec.evaluation.evaluate import Evaluation
from hnlmrec.pipeline import Pipeline
from hnlmrec.stage_names import evaluate_name, train_name
from hnlmrec.studies.assess import HITS, PER_USER, Assessment
from hnlmrec.studies.costs import language_costs, mi_bounds
from hnlmrec.studies.grid import Cell
from hnlmrec.studies.groups import group_metrics
from hnlmrec.studies.shift import SHIFT, shift_name
from hnlmrec.training import TrainReport

# columns that every table begins with
KEYS = ("point", "model", "seed")


@dataclass(frozen=True)
class Frames:
    """The tables of a study, each with the columns ``point``, ``model`` and ``seed``.

    Parameters
    ----------
    per_user
        ``user``, ``n_relevant`` and a column a metric, on test.
    measures
        ``measure`` and ``value``: false hard negatives, gradient bias, epochs, seconds, costs of
        the language stages.
    curves
        ``epoch``, ``seconds`` of training so far, ``measure`` and ``value``.
    groups
        ``side``, ``group``, ``label``, ``users``, ``metric`` and ``value``; see `group_metrics`.
    shift
        What `hnlmrec.studies.shift` writes; empty where the study does not look at it.
    """

    per_user: pl.DataFrame
    measures: pl.DataFrame
    curves: pl.DataFrame
    groups: pl.DataFrame
    shift: pl.DataFrame

    def save(self, folder: Path) -> None:
        """Write each that has rows as Parquet, named after it."""
        for name, frame in vars(self).items():
            if frame.height:
                write_parquet(frame, folder / f"{name}.parquet")


def collect(
    cells: list[Cell], pipelines: dict[str, Pipeline], seeds: tuple[int, ...], *, shift: bool
) -> Frames:
    """Read what the finished cells of a study wrote.

    Parameters
    ----------
    cells
        All of them.
    pipelines
        By the names of the runs.
    seeds
        Each cell's.
    shift
        Whether they looked at the hardness of negatives.
    """
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in Frames.__annotations__}
    for cell in cells:
        pipeline = pipelines[cell.run]
        for seed in seeds:
            found = _of_run(pipeline, cell.stage_model, seed, shift=shift)
            for name, frame in found.items():
                keys = {"point": cell.point, "model": cell.model, "seed": seed}
                labels = [pl.lit(value).alias(key) for key, value in keys.items()]
                parts[name].append(frame.select(*labels, pl.all()))
    joined = {
        name: pl.concat(frames, how="vertical_relaxed") if frames else pl.DataFrame()
        for name, frames in parts.items()
    }
    return Frames(**joined)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a table so that readers see the old one or the new, never a part."""
    from io import BytesIO

    buffer = BytesIO()
    frame.write_parquet(buffer)
    write_atomically(path, buffer.getvalue())


def _of_run(pipeline: Pipeline, model: str, seed: int, *, shift: bool) -> dict[str, pl.DataFrame]:
    """The tables of one training run, without its keys."""
    trained = pipeline.folder.stage(train_name(model, seed))
    evaluated = pipeline.folder.stage(evaluate_name(model, seed))
    report = TrainReport.model_validate_json((trained / "report.json").read_bytes())
    assessment = Assessment.model_validate_json((evaluated / "assessment.json").read_bytes())
    per_user = Evaluation.load(evaluated / PER_USER).frame
    name = train_name(model, seed)
    of_language = language_costs(pipeline, name) | mi_bounds(pipeline, name)
    hits = pl.read_parquet(evaluated / HITS)
    cutoffs = pipeline.config.evaluation.cutoffs
    found = {
        "per_user": per_user,
        "measures": _measures(report, assessment, of_language),
        "curves": _curves(report),
        "groups": group_metrics(per_user, hits, pipeline.context.interactions, cutoffs),
    }
    if shift:
        found["shift"] = pl.read_parquet(pipeline.folder.stage(shift_name(model, seed)) / SHIFT)
    return found


def _measures(
    report: TrainReport, assessment: Assessment, of_language: dict[str, float]
) -> pl.DataFrame:
    values = {
        **{f"fhns_{name}": value for name, value in assessment.fhns.items()},
        **{f"gradient_{name}": value for name, value in assessment.gradient.items()},
        "valid_recall": report.valid_recall,
        "best_epoch": report.best_epoch,
        "epochs": report.epochs,
        "seconds": report.seconds_per_epoch * report.epochs,
        "missing_negatives": report.missing_negatives,
        **of_language,
    }
    return pl.DataFrame(
        {"measure": list(values), "value": [float(value) for value in values.values()]}
    )


def _curves(report: TrainReport) -> pl.DataFrame:
    history = pl.DataFrame(report.history, infer_schema_length=None)
    tidy = history.unpivot(index="epoch", variable_name="measure").drop_nulls("value")
    return tidy.select(
        pl.col("epoch").cast(pl.Int32),
        (pl.col("epoch") * report.seconds_per_epoch).alias("seconds"),
        "measure",
        "value",
    )
