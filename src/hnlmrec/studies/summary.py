"""The summary of a study: means, spreads, intervals and tests, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.evaluation.evaluate import Evaluation
from hnlmrec.evaluation.significance import bootstrap_interval, compare

FloatArray = npt.NDArray[np.float64]

SUMMARY_SCHEMA = {
    "point": pl.String,
    "model": pl.String,
    "metric": pl.String,
    "seeds": pl.Int64,
    "mean": pl.Float64,
    "sd": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "p_t_holm": pl.Float64,
    "p_wilcoxon_holm": pl.Float64,
    "d": pl.Float64,
}


def summarise(per_user: pl.DataFrame, reference: str, metrics: Sequence[str]) -> pl.DataFrame:
    """Put the users' metrics into a row a point, model and metric.

    Parameters
    ----------
    per_user
        Columns ``point``, ``model``, ``seed``, ``user`` and the metrics.
    reference
        The model that others are tested against, at the same point.
    metrics
        Names of the columns that are summarised.

    Returns
    -------
    DataFrame
        ``mean`` and ``sd`` are over seeds (``sd`` null for one); ``low`` and ``high`` bound the
        mean over users, ``difference_low`` and ``_high`` the mean difference to the reference,
        by a bootstrap of 95 %; ``p_t_holm`` and ``p_wilcoxon_holm`` are paired tests over users,
        corrected over the models of a point and metric; ``d`` is Cohen's d_z. What compares is
        null for the reference.
    """
    rows: list[dict[str, Any]] = []
    for (point,), at_point in per_user.group_by("point", maintain_order=True):
        models = at_point["model"].unique(maintain_order=True).to_list()
        runs = {model: _seeds(at_point.filter(pl.col("model") == model)) for model in models}
        tested = compare(runs, reference, metrics)
        tests = {(row["model"], row["metric"]): row for row in tested.iter_rows(named=True)}
        users = {model: _by_user(evaluations, metrics) for model, evaluations in runs.items()}
        means = _intervals([users[model] for model in models])
        differences = _intervals([users[model] - users[reference] for model in models])
        for place, model in enumerate(models):
            for column, metric in enumerate(metrics):
                row = {"point": point, "model": model, "metric": metric}
                row |= _spread(runs[model], metric)
                row["low"], row["high"] = means[place, :, column]
                if model != reference:
                    row |= {k: v for k, v in tests[model, metric].items() if k in SUMMARY_SCHEMA}
                    row["difference_low"], row["difference_high"] = differences[place, :, column]
                rows.append(row)
    return pl.DataFrame(rows, schema=SUMMARY_SCHEMA)


def _seeds(frame: pl.DataFrame) -> list[Evaluation]:
    keys = ["point", "model", "seed"]
    parts = frame.partition_by("seed", maintain_order=True)
    return [Evaluation(part.drop(keys)) for part in parts]


def _by_user(evaluations: list[Evaluation], metrics: Sequence[str]) -> FloatArray:
    """Metrics of each user, averaged over seeds, float ``[n_users, n_metrics]``."""
    tables = [one.frame.sort("user").select(metrics).to_numpy() for one in evaluations]
    return np.asarray(np.mean(tables, axis=0))


def _intervals(tables: list[FloatArray]) -> FloatArray:
    """Ends of the intervals of all models and metrics, float ``[n_models, 2, n_metrics]``."""
    low, high = bootstrap_interval(np.hstack(tables))
    return np.stack([low, high]).reshape(2, len(tables), -1).swapaxes(0, 1)


def _spread(evaluations: list[Evaluation], metric: str) -> dict[str, Any]:
    means = np.array([evaluation.means()[metric] for evaluation in evaluations])
    deviation = float(means.std(ddof=1)) if len(means) > 1 else None
    return {"seeds": len(means), "mean": float(means.mean()), "sd": deviation}
