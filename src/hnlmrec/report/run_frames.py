"""The frames of a study, computed from the evaluations and training reports of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import Interactions
from hnlmrec.evaluation.evaluate import Evaluation
from hnlmrec.evaluation.significance import compare
from hnlmrec.report.source import OPTIONAL_SCHEMAS, SUMMARY_SCHEMA
from hnlmrec.stage_names import PREPARE
from hnlmrec.studies.assess import PER_USER, Assessment
from hnlmrec.studies.compare import Entry
from hnlmrec.training import TrainReport

_RESAMPLES, _CHUNK = 1000, 50
_USER_GROUPS = 5
FloatArray = npt.NDArray[np.float64]


def summary_of(
    entries: dict[str, Entry], point: str, reference: str, metrics: list[str]
) -> pl.DataFrame:
    """Means, spread, intervals and tests of all models, as a study's ``summary.parquet``."""
    evaluations = {name: _evaluations(entry) for name, entry in entries.items()}
    tests = compare(evaluations, reference, metrics)  # refuses models of different users
    low, high = interval(np.hstack([_by_user(some, metrics) for some in evaluations.values()]))
    rows = []
    for place, (name, metric) in enumerate((n, m) for n in evaluations for m in metrics):
        means = np.array([one.frame[metric].mean() for one in evaluations[name]], float)
        rows.append(
            {
                "point": point,
                "model": name,
                "metric": metric,
                "seeds": len(means),
                "mean": means.mean(),
                "sd": means.std(ddof=1) if len(means) > 1 else None,
                "low": low[place],
                "high": high[place],
            }
        )
    summary = pl.DataFrame(rows, schema_overrides=SUMMARY_SCHEMA, infer_schema_length=None)
    return summary.join(tests, on=["model", "metric"], how="left", maintain_order="left").select(
        pl.col(name).cast(kind) for name, kind in SUMMARY_SCHEMA.items()
    )


def interval(values: FloatArray, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Bootstrap 95 % interval of the mean over users (percentiles of 1,000 resamples).

    Parameters
    ----------
    values
        A row a user, float ``[n_users, n]``.
    seed
        Of the resamples.

    Returns
    -------
    tuple[ndarray, ndarray]
        Lower and upper ends, each ``[n]``.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    even = np.full(n, 1 / n)
    # how often each user is drawn, for some resamples at a time: one product instead of gathers
    means = [
        rng.multinomial(n, even, size=_CHUNK) @ values / n for _ in range(_RESAMPLES // _CHUNK)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def measures_of(
    entries: dict[str, Entry],
    point: str,
    language: dict[str, dict[str, float]],
    bounds: dict[str, float],
) -> pl.DataFrame:
    """Measures of all models and seeds, as a study's ``measures.parquet``.

    Parameters
    ----------
    entries, point
        The models, and the name of the point.
    language
        What the language stages of a model cost, by model.
    bounds
        What fine-tuning says of mutual information; given to the models with language stages.
    """
    rows = []
    for name, entry in entries.items():
        reports = zip(entry.seeds, entry.trained, entry.evaluated, strict=True)
        for seed, trained, evaluated in reports:
            report = _train_report(trained)
            assessment = Assessment.model_validate_json(_text(evaluated / "assessment.json"))
            found: dict[str, float] = {f"fhns_{k}": v for k, v in assessment.fhns.items()}
            found |= {f"gradient_{k}": v for k, v in assessment.gradient.items()}
            found |= {
                "best_epoch": report.best_epoch,
                "epochs": report.epochs,
                "seconds": report.seconds_per_epoch * report.epochs,
                "missing_negatives": report.missing_negatives,
            }
            found |= report.geometry
            if name in language:
                found |= language[name] | bounds
            rows += [(point, name, seed, measure, value) for measure, value in found.items()]
    return pl.DataFrame(rows, schema=OPTIONAL_SCHEMAS["measures"], orient="row", strict=False)


def curves_of(entries: dict[str, Entry], point: str) -> pl.DataFrame:
    """What training reported epoch by epoch, as a study's ``curves.parquet``.

    ``seconds`` counts every epoch of a run as equally long.
    """
    rows = []
    for name, entry in entries.items():
        for seed, trained in zip(entry.seeds, entry.trained, strict=True):
            report = _train_report(trained)
            for facts in report.history:
                epoch = facts["epoch"]
                seconds = epoch * report.seconds_per_epoch
                rows += [
                    (point, name, seed, epoch, seconds, measure, value)
                    for measure, value in facts.items()
                    if measure != "epoch"
                ]
    return pl.DataFrame(rows, schema=OPTIONAL_SCHEMAS["curves"], orient="row")


def groups_of(entries: dict[str, Entry], point: str, metric: str) -> pl.DataFrame:
    """A metric by the users' activity, in up to five groups, the least active first.

    The groups lie between quintiles of the number of training interactions: users of the same
    number are in the same group.
    """
    run = next(iter(entries.values())).run
    degree = np.diff(Interactions.load(run.stage(PREPARE)).train.indptr)
    edges = np.quantile(degree, np.arange(1, _USER_GROUPS) / _USER_GROUPS)
    group = np.unique(np.searchsorted(edges, degree), return_inverse=True)[1] + 1
    activity = pl.DataFrame({"user": np.arange(len(degree)), "group": group, "degree": degree})
    rows = []
    for name, entry in entries.items():
        for seed, evaluation in zip(entry.seeds, _evaluations(entry), strict=True):
            frame = evaluation.frame.with_columns(pl.col("user").cast(pl.Int64))
            rows.append(
                frame.join(activity, on="user")
                .group_by("group")
                .agg(
                    value=pl.col(metric).mean(),
                    users=pl.len(),
                    low=pl.col("degree").min(),
                    high=pl.col("degree").max(),
                )
                .with_columns(
                    point=pl.lit(point),
                    model=pl.lit(name),
                    seed=pl.lit(seed),
                    side=pl.lit("users"),
                    metric=pl.lit(metric),
                    label=pl.when(pl.col("low") == pl.col("high"))
                    .then(pl.format("{}", "low"))
                    .otherwise(pl.format("{}-{}", "low", "high")),
                )
            )
    schema = OPTIONAL_SCHEMAS["groups"]
    return (
        pl.concat(rows)
        .select(pl.col(name).cast(kind) for name, kind in schema.items())
        .sort("group", maintain_order=True)
    )


def _evaluations(entry: Entry) -> list[Evaluation]:
    return [Evaluation.load(path / PER_USER) for path in entry.evaluated]


def _by_user(evaluations: list[Evaluation], metrics: list[str]) -> FloatArray:
    """Metrics of each user, averaged over seeds, float ``[n_users, n_metrics]``."""
    tables = [one.frame.sort("user").select(metrics).to_numpy() for one in evaluations]
    return np.asarray(np.mean(tables, axis=0))


def _train_report(folder: Path) -> TrainReport:
    return TrainReport.model_validate_json(_text(folder / "report.json"))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
