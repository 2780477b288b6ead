"""What a report says in words: one sentence of what was found, and what to be careful of."""

from __future__ import annotations

from typing import Any

import polars as pl

from hnlmrec.report.source import Source

_SIGNIFICANT = 0.05
# of so many other models nothing is counted: the first sentence says most of it
_FEW = 2


def finding(source: Source) -> str:
    """Say which model is best in the first metric, by how much, and whether that is significant."""
    facts, metric = source.facts, source.facts.metrics[0]
    rows = source.summary.filter(pl.col("metric") == metric, pl.col("mean").is_not_null())
    if rows.is_empty():
        return f"Nothing was measured in {metric}."
    if rows["point"].n_unique() == 1:
        said = _at_one_point(rows, facts.reference, metric)
        return said + _standing(rows, facts.reference)
    return _at_many_points(rows, facts.reference, metric)


def cautions(source: Source) -> list[str]:
    """What a reader must know before believing the numbers, the plainest first."""
    facts, found = source.facts, []
    if facts.quick:
        found.append("A quick run: training was cut short, so the numbers only show that it works.")
    if len(facts.seeds) == 1:
        found.append("One seed: nothing is known of the spread between training runs.")
    others = source.summary.filter(pl.col("model") != facts.reference)
    if others.is_empty():
        found.append("One model: there is nothing to compare it with.")
    elif others["p_t_holm"].is_null().all():
        found.append("No test of significance is given, so small differences may be chance.")
    elif others["p_t_holm"].is_null().any():
        found.append("Some differences are given without a test of significance.")
    return found + source.notes


def _at_one_point(rows: pl.DataFrame, reference: str, metric: str) -> str:
    ranked = rows.sort("mean", descending=True, maintain_order=True).to_dicts()
    level = [row["model"] for row in ranked if row["mean"] == ranked[0]["mean"]]
    if len(level) > 1:
        return f"{', '.join(level)} are equal, and best, in {metric} with {ranked[0]['mean']:.4f}."
    best, base = ranked[0], next((row for row in ranked if row["model"] == reference), None)
    said = f"{best['model']} is best in {metric} with {best['mean']:.4f}"
    if base is None:
        return f"The model {said}; the reference {reference} was not measured."
    if best["model"] != reference:
        gain = f"{_gain(best['mean'], base['mean'])} against the reference {reference}"
        return f"The model {said}, {gain} ({base['mean']:.4f}); {_verdict(best)}."
    if len(ranked) == 1:
        return f"The model {said}; there is no other."
    second = ranked[1]
    gain = f"the next is {second['model']} with {second['mean']:.4f}"
    return f"The reference {said}; {gain}, {_gain(second['mean'], base['mean'])}; " + (
        f"{_verdict(second)}."
    )


def _standing(rows: pl.DataFrame, reference: str) -> str:
    """Of how many other models the reference is significantly above, where there are several."""
    tested = rows.filter(pl.col("model") != reference, pl.col("p_t_holm").is_not_null())
    if tested.height <= _FEW:
        return ""
    clear = tested.filter(pl.col("p_t_holm") < _SIGNIFICANT)
    above = clear.filter(pl.col("difference") < 0).height
    below = clear.height - above
    return (
        f" {reference} is significantly above {above} of the {tested.height} other models, below "
        f"{below}, and level with {tested.height - clear.height}."
    )


def _at_many_points(rows: pl.DataFrame, reference: str, metric: str) -> str:
    best = rows.filter(pl.col("mean") == pl.col("mean").max().over("point"))
    n_points = rows["point"].n_unique()
    wins = best.group_by("model", maintain_order=True).len().sort("len", descending=True)
    model, n = wins.row(0)
    said = f"{model} is best in {metric} at {n} of {n_points} points"
    others = rows.filter(pl.col("model") != reference)
    said = f"The {'reference' if model == reference else 'model'} {said}"
    if model == reference:
        if others.is_empty():
            return f"{said}."
        # of the others the one that is best on average stands for them
        means = others.group_by("model", maintain_order=True).agg(pl.col("mean").mean())
        model = means.sort("mean", descending=True)["model"][0]
    tested = others.filter(pl.col("model") == model, pl.col("p_t_holm").is_not_null())
    if tested.is_empty():
        return f"{said}; no test of significance is given."
    clear = tested.filter(pl.col("p_t_holm") < _SIGNIFICANT)
    above = clear.filter(pl.col("difference") > 0).height
    below = clear.filter(pl.col("difference") < 0).height
    return (
        f"{said}; {model} is significantly above the reference {reference} at {above} and "
        f"below it at {below} of {tested.height} points (paired t-test over users, Holm): "
        f"{_ends(tested)}."
    )


def _ends(tested: pl.DataFrame) -> str:
    """The gains of a model at the first and the last point."""
    shares = [
        (row["point"], row["difference"], row["difference"] / (row["mean"] - row["difference"]))
        for row in (tested.row(0, named=True), tested.row(-1, named=True))
    ]
    return ", ".join(f"{gain:+.4f} ({share:+.1%}) at {point}" for point, gain, share in shares)


def _gain(mean: float, base: float) -> str:
    share = f" ({(mean - base) / base:+.1%})" if base else ""
    return f"{mean - base:+.4f}{share}"


def _verdict(row: dict[str, Any]) -> str:
    """Whether the difference from the reference is significant."""
    p = row["p_t_holm"]
    if p is None:
        return "no test of significance is given"
    sign = "significant" if p < _SIGNIFICANT else "not significant"
    return f"the difference is {sign} ({_p(p)}, paired t-test over users, Holm)"


def _p(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}"
