"""The data of figures: a row a mark, in columns ``model``, ``x`` or ``point``, ``mean``."""

from __future__ import annotations

import polars as pl

from hnlmrec.report.source import Source, over_seeds

MOST_MODELS = 8  # with lines in a figure


def spread(frame: pl.DataFrame) -> pl.DataFrame:
    """Add ``low`` and ``high``, one standard deviation around ``mean``; null where it is."""
    return frame.with_columns(low=pl.col("mean") - pl.col("sd"), high=pl.col("mean") + pl.col("sd"))


def of_metric(source: Source, metric: str) -> tuple[pl.DataFrame, str]:
    """Means of a metric by point and model, with an interval, and what the interval is."""
    rows = source.summary.filter(pl.col("metric") == metric, pl.col("mean").is_not_null())
    if rows["sd"].is_not_null().any():
        return spread(rows), "± one standard deviation over seeds"
    if rows["low"].is_not_null().any():
        return rows, "bootstrap 95 % interval over users"
    return rows, ""


def numeric_points(source: Source) -> pl.DataFrame | None:
    """Columns ``point`` and ``x``, when there are several points and all are numbers."""
    facts = source.facts
    if len(facts.points) < 2 or not facts.axis.numeric:
        return None
    points = pl.Series("point", facts.points)
    given = pl.Series("x", [facts.x.get(point) for point in facts.points], dtype=pl.Float64)
    numbers = pl.DataFrame([points, given]).with_columns(
        pl.coalesce("x", pl.col("point").cast(pl.Float64, strict=False))
    )
    return None if numbers["x"].null_count() else numbers.sort("x")


def convergence(source: Source, measure: str, point: str) -> pl.DataFrame | None:
    """Mean of a measure of training by model and epoch, over the epochs that all seeds reached.

    Returns
    -------
    DataFrame | None
        ``model``, ``epoch``, ``mean``, ``sd``, ``low``, ``high`` and ``seconds``: of training so
        far, after those of the language stages that the model needs.
    """
    curves = source.frame("curves", point)
    if curves is None:
        return None
    curves = curves.filter(pl.col("measure") == measure, pl.col("value").is_finite())
    if curves.is_empty():
        return None
    n_seeds = pl.col("seed").n_unique()
    rows = (
        curves.with_columns(all_seeds=n_seeds.over("model"))
        .filter(n_seeds.over("model", "epoch") == pl.col("all_seeds"))
        .group_by("model", "epoch", maintain_order=True)
        .agg(
            mean=pl.col("value").mean(),
            sd=pl.col("value").std(ddof=1),
            seconds=pl.col("seconds").mean(),
        )
    )
    before = source.measure("language_seconds", point)
    if before is not None:
        offset = over_seeds(before, "model").select("model", before="mean")
        rows = rows.join(offset, on="model", how="left", maintain_order="left").with_columns(
            seconds=pl.col("seconds") + pl.col("before").fill_null(0.0)
        )
    return spread(rows).sort("model", "epoch", maintain_order=True)


def costs(source: Source, metric: str, measure: str) -> pl.DataFrame | None:
    """A metric by what was spent: ``x`` in tokens, or in seconds of training and what it needs."""
    spent = source.measure(measure)
    if spent is None:
        return None
    x = over_seeds(spent, "point", "model").select("point", "model", x="mean")
    training = source.measure("seconds")
    metrics, _ = of_metric(source, metric)
    rows = metrics.join(x, on=["point", "model"], how="left", maintain_order="left")
    # a model without language stages spends nothing on them
    rows = rows.with_columns(pl.col("x").fill_null(0.0))
    if measure == "language_seconds" and training is not None:
        more = over_seeds(training, "point", "model").select("point", "model", training="mean")
        rows = rows.join(more, on=["point", "model"], how="inner", maintain_order="left")
        rows = rows.with_columns(x=pl.col("x") + pl.col("training"))
    return rows


def main_models(source: Source, point: str) -> list[str]:
    """The models whose lines are drawn when there are many.

    These are the reference, the best model that needs no language stages, and the best others.
    """
    facts = source.facts
    if len(facts.models) <= MOST_MODELS:
        return facts.models
    rows = source.summary.filter(point=point, metric=facts.metrics[0])
    ranked = rows.sort("mean", descending=True, nulls_last=True)["model"].to_list()
    costly = source.measure("language_seconds", point)
    needing = set() if costly is None else set(costly["model"])
    plain = [model for model in ranked if model not in needing][:1]
    chosen = set(list(dict.fromkeys([facts.reference, *plain, *ranked]))[:MOST_MODELS])
    return [model for model in facts.models if model in chosen]
