"""What the cells of a study measured, as tidy tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

import polars as pl

from hnlmrec.artifacts import RunFolder
from hnlmrec.data.interactions import Interactions
from hnlmrec.disk import write_atomically
from hnlmrec.evaluation.evaluate import Evaluation
from hnlmrec.pipeline import Pipeline
from hnlmrec.stage_names import evaluate_name, train_name
from hnlmrec.studies.assess import HITS, PER_USER, Assessment
from hnlmrec.studies.costs import language_costs, mi_bounds
from hnlmrec.studies.grid import Cell
from hnlmrec.studies.groups import group_metrics
from hnlmrec.studies.shift import SHIFT, shift_name
from hnlmrec.training import TrainReport


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

    @classmethod
    def joined(cls, parts: list[dict[str, pl.DataFrame]]) -> Self:
        """Put the tables of many runs into one of each kind."""
        return cls(
            **{
                name: pl.concat([part[name] for part in parts if name in part] or [pl.DataFrame()])
                for name in cls.__annotations__
            }
        )

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
        Whether the study looks at the hardness of negatives; another that shares a run may.
    """
    found = []
    for cell in cells:
        pipeline = pipelines[cell.run]
        cutoffs = pipeline.config.evaluation.cutoffs
        for seed in seeds:
            tables = tables_of(
                pipeline.folder, cell.stage_model, seed, pipeline.context.interactions, cutoffs
            )
            if not shift:
                tables.pop("shift", None)
            found.append(labelled(tables, cell.point, cell.model, seed))
    return Frames.joined(found)


def labelled(
    tables: dict[str, pl.DataFrame], point: str, model: str, seed: int
) -> dict[str, pl.DataFrame]:
    """Put point, model and seed before the columns of each table."""
    keys = {"point": point, "model": model, "seed": seed}
    labels = [pl.lit(value).alias(key) for key, value in keys.items()]
    return {name: frame.select(*labels, pl.all()) for name, frame in tables.items()}


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Write a table so that readers see the old one or the new, never a part."""
    buffer = BytesIO()
    frame.write_parquet(buffer)
    write_atomically(path, buffer.getvalue())


def tables_of(
    run: RunFolder, model: str, seed: int, interactions: Interactions, cutoffs: Sequence[int]
) -> dict[str, pl.DataFrame]:
    """The tables of one training run, by the names that `Frames` has for them.

    Parameters
    ----------
    run
        Its folder.
    model, seed
        Which of its runs, trained and evaluated.
    interactions
        The prepared interactions.
    cutoffs
        The K of the metrics.
    """
    name = train_name(model, seed)
    evaluated = run.stage(evaluate_name(model, seed))
    report = TrainReport.model_validate_json((run.stage(name) / "report.json").read_bytes())
    assessment = Assessment.model_validate_json((evaluated / "assessment.json").read_bytes())
    per_user = Evaluation.load(evaluated / PER_USER).frame
    # evaluations of older versions have none
    hits = pl.read_parquet(evaluated / HITS) if (evaluated / HITS).is_file() else None
    found = {
        "per_user": per_user,
        "measures": _measures(report, assessment, language_costs(run, name) | mi_bounds(run, name)),
        "curves": _curves(report),
        "groups": group_metrics(per_user, hits, interactions, cutoffs),
    }
    shift = run.stage(shift_name(model, seed)) / SHIFT
    return found | ({"shift": pl.read_parquet(shift)} if shift.is_file() else {})


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
        **report.geometry,
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
