"""Paired tests of models against a reference, over users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.errors import ArtifactError
from hnlmrec.evaluation.evaluate import Evaluation

FloatArray = npt.NDArray[np.float64]

_RESAMPLES, _CHUNK = 2_000, 50
_SCHEMA = {
    "model": pl.String,
    "reference": pl.String,
    "metric": pl.String,
    "difference": pl.Float64,
    "p_t": pl.Float64,
    "p_t_holm": pl.Float64,
    "p_wilcoxon": pl.Float64,
    "p_wilcoxon_holm": pl.Float64,
    "d": pl.Float64,
}


def compare(
    evaluations: Mapping[str, Sequence[Evaluation]], reference: str, metrics: Sequence[str]
) -> pl.DataFrame:
    """Test each model against the reference, user by user.

    A user's metric is first averaged over a model's seeds, so that a user counts once.

    Parameters
    ----------
    evaluations
        A model's evaluations, one a seed, all of the same users.
    reference
        The model that the others are tested against.
    metrics
        Columns of the evaluations, such as ``ndcg@10``.

    Returns
    -------
    DataFrame
        A row for each metric and each model but the reference: ``model``, ``reference``,
        ``metric``; what `paired_test` gives for the model minus the reference; and
        ``p_t_holm`` and ``p_wilcoxon_holm``, corrected for the number of models tested on that
        metric.

    Raises
    ------
    ArtifactError
        If the evaluations are not of the same users.
    """
    users = evaluations[reference][0].frame["user"].sort()
    means = {name: _mean_over_seeds(name, evaluations[name], users) for name in evaluations}
    others = [name for name in evaluations if name != reference]
    rows = []
    for metric in metrics:
        base = means[reference][metric].to_numpy()
        tests = [paired_test(means[name][metric].to_numpy() - base) for name in others]
        for kind in ("p_t", "p_wilcoxon"):
            corrected = holm(np.array([test[kind] for test in tests]))
            for test, p in zip(tests, corrected, strict=True):
                test[f"{kind}_holm"] = float(p)
        for name, test in zip(others, tests, strict=True):
            rows.append({"model": name, "reference": reference, "metric": metric, **test})
    return pl.DataFrame(rows, schema=_SCHEMA)


def paired_test(difference: FloatArray) -> dict[str, float]:
    """Test whether paired differences are centred on zero.

    Parameters
    ----------
    difference
        One a user, float ``[n]``.

    Returns
    -------
    dict[str, float]
        ``difference``, the mean; ``d``, Cohen's d_z: the mean over the standard deviation;
        ``p_t``, two-sided paired t-test; ``p_wilcoxon``, two-sided Wilcoxon signed-rank test,
        which leaves out zeros. Differences that are all zero give ``d = 0`` and ``p = 1``.
    """
    from scipy import stats  # takes longer to import than all else that training needs

    # Averages over seeds that are equal on paper differ in the last bits; their ranks would count.
    difference = np.round(difference, 12)
    n, mean = len(difference), float(difference.mean())
    if n < 2 or not difference.any():
        return {"difference": mean, "d": 0.0, "p_t": 1.0, "p_wilcoxon": 1.0}
    with np.errstate(divide="ignore"):  # constant differences: infinitely clear
        d = float(mean / difference.std(ddof=1))
    return {
        "difference": mean,
        "d": d,
        "p_t": float(2 * stats.t.sf(abs(d) * np.sqrt(n), n - 1)),
        "p_wilcoxon": float(stats.wilcoxon(difference).pvalue),
    }


def holm(p: FloatArray) -> FloatArray:
    """Correct p-values for their number, step-down (Holm, 1979).

    The i-th smallest of ``m`` is multiplied by ``m - i + 1``, is at least the one before it, and
    at most 1.

    Parameters
    ----------
    p
        Float ``[m]``.

    Returns
    -------
    ndarray
        Corrected, float ``[m]``, in the order given.
    """
    order = np.argsort(p)
    factors = np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return corrected


def bootstrap_interval(values: FloatArray, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """The interval of 95 % of means over users, by percentiles of 2,000 resamples (Efron, 1979).

    All columns see the same resamples, so the interval of a difference is that of paired users.

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
    generator = np.random.default_rng(seed)
    n = len(values)
    even = np.full(n, 1 / n)
    # how often each user is drawn, for some resamples at a time: one product instead of gathers
    means = [
        generator.multinomial(n, even, size=_CHUNK) @ values / n
        for _ in range(_RESAMPLES // _CHUNK)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5], axis=0)
    return low, high


def _mean_over_seeds(name: str, seeds: Sequence[Evaluation], users: pl.Series) -> pl.DataFrame:
    """Average a model's rows over its seeds; sorted by user."""
    for evaluation in seeds:
        if not evaluation.frame["user"].sort().equals(users):
            raise ArtifactError(
                "this model was evaluated on other users than the reference, so that they cannot "
                "be compared",
                where=f"evaluation of {name}",
                mend="evaluate all models of a comparison on the same prepared data",
            )
    return (
        pl.concat([evaluation.frame for evaluation in seeds]).group_by("user").mean().sort("user")
    )
