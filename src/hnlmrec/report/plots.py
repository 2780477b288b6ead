"""Kinds of plots, each drawn into given axes from a frame with a row a mark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from hnlmrec.report.style import COLOURS, INK, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Looks = dict[str, Look]


def lines(axes: Axes, frame: pl.DataFrame, looks: Looks) -> None:
    """A line a model through ``x`` and ``mean``, with a band from ``low`` to ``high``, if known."""
    for model, rows in _by_model(frame, looks):
        look = looks[model]
        x = rows["x"].to_numpy()
        axes.plot(
            x,
            rows["mean"].to_numpy(),
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            label=model,
            zorder=3,
            markevery=max(1, rows.height // 8),
        )
        if "low" in rows.columns and rows["low"].is_not_null().any():
            low, high = (rows[end].cast(pl.Float64).to_numpy() for end in ("low", "high"))
            axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)


def bars(axes: Axes, frame: pl.DataFrame, looks: Looks) -> None:
    """A bar a model, the first on top, from zero to ``mean``, with ``low`` and ``high``."""
    rows = [(model, rows.row(0, named=True)) for model, rows in _by_model(frame, looks)]
    for place, (model, row) in enumerate(rows):
        # names tell the bars apart, so that only the reference has another colour
        colour = INK if looks[model].colour == INK else COLOURS[0]
        axes.barh(place, row["mean"], height=0.65, color=colour, alpha=0.8)
        _whisker(axes, row, place, vertical=False)
    axes.set_yticks(range(len(rows)), [model for model, _ in rows])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def dots(axes: Axes, frame: pl.DataFrame, looks: Looks, points: Sequence[str]) -> None:
    """For each point a dot a model at ``mean``, side by side, with ``low`` and ``high``."""
    groups = list(_by_model(frame, looks))
    steps = np.linspace(-0.3, 0.3, len(groups)) if len(groups) > 1 else np.zeros(1)
    for step, (model, rows) in zip(steps, groups, strict=True):
        look = looks[model]
        place = np.array([points.index(point) for point in rows["point"]]) + step
        axes.plot(
            place, rows["mean"].to_numpy(), linestyle="", marker=look.marker, color=look.colour,
            label=model, zorder=3,
        )  # fmt: skip
        for x, row in zip(place, rows.iter_rows(named=True), strict=True):
            _whisker(axes, row, x, vertical=True, colour=look.colour)
    axes.set_xticks(range(len(points)), list(points))
    if max(map(len, points)) * len(points) > 40:
        axes.tick_params(axis="x", rotation=30)
    axes.grid(visible=False, axis="x")


def scatter(axes: Axes, frame: pl.DataFrame, looks: Looks) -> None:
    """A mark a model and point at ``x`` and ``mean``."""
    for model, rows in _by_model(frame, looks):
        look = looks[model]
        axes.plot(
            rows["x"].to_numpy(), rows["mean"].to_numpy(), linestyle="", marker=look.marker,
            color=look.colour, label=model, markersize=5.5, zorder=3,
        )  # fmt: skip


def log_x(axes: Axes, values: pl.Series) -> None:
    """Make ``x`` logarithmic, with a tick at each value; linear below the smallest one above 0."""
    from matplotlib.ticker import FixedLocator

    above = values.filter(values > 0)
    if len(above) == len(values):
        axes.set_xscale("log")
    else:  # zero has no logarithm
        axes.set_xscale("symlog", linthresh=above.min() if len(above) else 1.0)
    axes.xaxis.set_major_locator(FixedLocator(values.unique().sort().to_list()))
    _plain_numbers(axes.xaxis)


def log_y(axes: Axes) -> None:
    """Make ``y`` logarithmic, with ticks at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    _plain_numbers(axes.yaxis)


def _plain_numbers(axis: Axis) -> None:
    """Write numbers as they are: `style.settings` turns off the mathematics of the usual ones."""
    from matplotlib.ticker import NullFormatter, NullLocator, StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(NullLocator())


def short_numbers(axes: Axes) -> None:
    """Write thousands and millions along ``x`` as k and M."""
    from matplotlib.ticker import EngFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def reference_line(axes: Axes, value: float) -> None:
    """A dashed line at a value that means something, across bars."""
    axes.axvline(value, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=2)


def _by_model(frame: pl.DataFrame, looks: Looks) -> list[tuple[str, pl.DataFrame]]:
    """The rows of each model that there are, in the order of the looks."""
    parts = ((model, frame.filter(pl.col("model") == model)) for model in looks)
    return [(model, rows) for model, rows in parts if rows.height]


def _whisker(
    axes: Axes, row: dict[str, Any], place: float, *, vertical: bool, colour: str = INK
) -> None:
    """The interval of one mark, when it is known."""
    low, high = row.get("low"), row.get("high")
    if low is None or high is None:
        return
    draw = axes.vlines if vertical else axes.hlines
    draw(place, low, high, color=colour, linewidth=0.9, zorder=4)
