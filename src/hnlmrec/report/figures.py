"""The figures of a report: which there are, and from what data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from hnlmrec.report import frames, plots
from hnlmrec.report.plot import Plot
from hnlmrec.report.scene import SPREAD, Scene
from hnlmrec.report.source import Source, over_seeds, slug
from hnlmrec.report.training_figures import convergence_plots, training_plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUALITY, FALSE, DIAGNOSTICS = "Quality", "False hard negatives", "Diagnostics"
GROUPS, COST = "Groups of users and items", "Cost"
_BAR = 0.19  # inches
# label, heading, whether one point is worth a figure
_MEASURES = {
    "fhns_used": ("FHNS, used", FALSE, True),
    "fhns_synthesised": ("FHNS, synthesised", FALSE, True),
    "gradient_cosine": ("gradient cosine", DIAGNOSTICS, False),
    "mi_bound_after": ("mutual information bound", DIAGNOSTICS, False),
}
_SHIFT = {"false": "share of false negatives", "share": "share of all negatives"}
_COSTS = {
    "language_tokens": "language tokens",
    "language_seconds": "language stages and training, s",
}


def figures(source: Source) -> list[Plot]:
    """All figures that there is data for, in the order of the page."""
    scene = Scene.of(source)
    false, others = (
        [_measure(scene, name) for name, facts in _MEASURES.items() if facts[1] == group]
        for group in (FALSE, DIAGNOSTICS)
    )
    found = [
        *(_metric(scene, metric) for metric in source.facts.metrics[:2]),
        *convergence_plots(scene),
        *false,
        *(_shift(scene, column) for column in _SHIFT),
        *others,
        *(_groups(scene, side) for side in ("items", "users")),
        *(_cost(scene, measure) for measure in _COSTS),
        *training_plots(scene),
    ]
    return [plot for plot in found if plot is not None]


def _metric(scene: Scene, metric: str) -> Plot | None:
    rows, interval = frames.of_metric(scene.source, metric)
    return _by_point(scene, rows, metric, metric, QUALITY, interval)


def _measure(scene: Scene, measure: str) -> Plot | None:
    label, group, alone = _MEASURES[measure]
    values = scene.source.measure(measure)
    if values is None or not (alone or scene.several):
        return None
    rows = frames.spread(over_seeds(values, "point", "model"))
    interval = SPREAD if rows["sd"].is_not_null().any() else ""
    return _by_point(scene, rows, measure, label, group, interval)


def _by_point(
    scene: Scene, rows: pl.DataFrame, name: str, label: str, group: str, interval: str
) -> Plot | None:
    """Bars of one point, lines over points that are numbers, dots over points that are names."""
    if rows.is_empty():
        return None
    notes = (
        interval,
        "false hard negatives, as a multiple of a uniform sampler's rate" if group == FALSE else "",
    )
    name, title = slug(name), f"{label} by {scene.axis}"
    if not scene.several:
        height = 0.5 + _BAR * rows["model"].n_unique()
        return Plot(
            name, group, label, scene.caption(*notes), label, "", rows,
            lambda axes: _draw_bars(axes, rows, scene, group), height, legend=False,
        )  # fmt: skip
    numbers = frames.numeric_points(scene.source)
    if numbers is None:
        points = scene.source.facts.points
        return Plot(
            name, group, title, scene.caption(*notes), scene.axis, label, rows,
            lambda axes: plots.dots(axes, rows, scene.every, points),
        )  # fmt: skip
    over = numbers.join(rows, on="point", how="inner", maintain_order="left")
    over = over.filter(pl.col("model").is_in(list(scene.few)))
    return Plot(
        name, group, title, scene.caption(*notes, lines=True), scene.axis, label, over,
        lambda axes: _draw_over_axis(axes, over, scene),
    )  # fmt: skip


def _draw_bars(axes: Axes, rows: pl.DataFrame, scene: Scene, group: str) -> None:
    plots.bars(axes, rows, scene.every)
    if group == FALSE:
        plots.reference_line(axes, 1.0)


def _draw_over_axis(axes: Axes, rows: pl.DataFrame, scene: Scene) -> None:
    plots.lines(axes, rows, scene.few)
    if scene.source.facts.axis.log:
        plots.log_x(axes, rows["x"])


def _groups(scene: Scene, side: str) -> Plot | None:
    """The first metric by groups of users or items."""
    groups = scene.source.frame("groups", scene.point)
    if groups is None:
        return None
    groups = groups.filter(pl.col("side") == side, pl.col("model").is_in(list(scene.few)))
    if groups.is_empty():
        return None
    measured = groups["metric"].unique(maintain_order=True).to_list()
    metric = next((one for one in scene.source.facts.metrics if one in measured), measured[0])
    rows = over_seeds(groups.filter(pl.col("metric") == metric), "model", "group", "label")
    rows = frames.spread(rows).with_columns(x=pl.col("group")).sort("x", maintain_order=True)
    ticks = rows.select("x", "label").unique().sort("x")

    def draw(axes: Axes) -> None:
        plots.lines(axes, rows, scene.few)
        axes.set_xticks(ticks["x"].to_list(), ticks["label"].to_list())

    order = "least popular first" if side == "items" else "least active first"
    return Plot(
        f"groups-{side}", GROUPS, f"{metric} by group of {side}",
        scene.caption(order, one_point=True, lines=True), f"{side}, by training interactions",
        metric, rows, draw,
    )  # fmt: skip


def _shift(scene: Scene, column: str) -> Plot | None:
    """Negatives by their hardness: how many there are, or how many of them are false."""
    shift = scene.source.frame("shift", scene.point)
    if shift is None:
        return None
    shift = shift.filter(pl.col("model").is_in(list(scene.few)), pl.col(column).is_finite())
    if shift.is_empty():
        return None
    middle = ((pl.col("low") + pl.col("high")) / 2).alias("x")
    rows = over_seeds(shift.with_columns(middle, value=pl.col(column)), "model", "x")
    rows = frames.spread(rows).sort("x", maintain_order=True)
    caption = scene.caption(
        "hardness: the percentile of the negative's score among the user's un-interacted items",
        "false: a held-out positive" if column == "false" else "",
        one_point=True,
        lines=True,
    )
    label = _SHIFT[column]
    return Plot(
        f"shift-{column}", FALSE, f"{label} by hardness", caption, "hardness, percentile", label,
        rows, lambda axes: plots.lines(axes, rows, scene.few),
    )  # fmt: skip


def _cost(scene: Scene, measure: str) -> Plot | None:
    """NDCG@20, or the second metric where there is none, against what the language model costs."""
    metrics = scene.source.facts.metrics
    metric = "ndcg@20" if "ndcg@20" in metrics else metrics[:2][-1]
    rows = frames.costs(scene.source, metric, measure)
    if rows is None or rows.is_empty():
        return None
    label = _COSTS[measure]

    def draw(axes: Axes) -> None:
        plots.scatter(axes, rows, scene.every)
        plots.short_numbers(axes)

    return Plot(
        f"cost-{slug(measure)}", COST, f"{metric} by {label.partition(',')[0]}",
        scene.caption("a mark a model" + (" and point" if scene.several else "")), label, metric,
        rows, draw,
    )  # fmt: skip
