"""The summary of a study: means, spreads, intervals and tests, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.evaluation.evaluate import Evaluation
from hnlmrec.evaluation.significance import compare

_SCHEMA = {
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
_RESAMPLES, _LEVEL = 2_000, 0.95
# users resampled at a time: bounds the memory of an interval to some 40 MB
_CELLS = 5_000_000


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
        users = {model: _over_seeds(evaluations) for model, evaluations in runs.items()}
        for model in models:
            for metric in metrics:
                own = users[model][metric].to_numpy()
                row = {"point": point, "model": model, "metric": metric}
                row |= _spread(runs[model], metric)
                row["low"], row["high"] = bootstrap_interval(own)
                if model != reference:
                    row |= {k: v for k, v in tests[model, metric].items() if k in _SCHEMA}
                    low, high = bootstrap_interval(own - users[reference][metric].to_numpy())
                    row |= {"difference_low": low, "difference_high": high}
                rows.append(row)
    return pl.DataFrame(rows, schema=_SCHEMA)


def bootstrap_interval(values: npt.NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """The interval of 95 % of a mean, by percentiles of 2,000 resamples (Efron, 1979).

    Parameters
    ----------
    values
        One a user, float ``[n]``.
    seed
        Of the resamples.
    """
    from scipy import stats

    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    result = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(_CELLS // len(values), 1),
        confidence_level=_LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _seeds(frame: pl.DataFrame) -> list[Evaluation]:
    keys = ["point", "model", "seed"]
    parts = frame.partition_by("seed", maintain_order=True)
    return [Evaluation(part.drop(keys)) for part in parts]


def _over_seeds(evaluations: list[Evaluation]) -> pl.DataFrame:
    """A user's metrics, averaged over seeds and sorted by user, as the tests have them."""
    joined = pl.concat([evaluation.frame for evaluation in evaluations])
    return joined.group_by("user").mean().sort("user")


def _spread(evaluations: list[Evaluation], metric: str) -> dict[str, Any]:
    means = np.array([evaluation.means()[metric] for evaluation in evaluations])
    deviation = float(means.std(ddof=1)) if len(means) > 1 else None
    return {"seeds": len(means), "mean": float(means.mean()), "sd": deviation}
