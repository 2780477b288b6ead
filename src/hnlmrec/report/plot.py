"""`Plot`: one figure, what is drawn and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from hnlmrec.report.style import HEIGHT, WIDTH, settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LEGEND_ROW = 0.15  # inches
_MOST_LISTED = 12


@dataclass(frozen=True, eq=False)
class Plot:
    """One figure, of one pair of axes.

    Parameters
    ----------
    name
        Of its files.
    group
        The heading that it stands under.
    title, caption
        For readers.
    x, y
        Labels of the axes.
    data
        What is drawn: columns ``model`` and ``mean`` at least.
    draw
        Draws it.
    height
        Of the axes, in inches.
    legend
        Whether models are told apart by a legend.
    """

    name: str
    group: str
    title: str
    caption: str
    x: str
    y: str
    data: pl.DataFrame
    draw: Callable[[Axes], None]
    height: float = HEIGHT
    legend: bool = True

    @property
    def alt(self) -> str:
        """What a reader who does not see the figure is told: the values, or their ranges."""
        rows = self.data.select("model", "mean").rows()
        models = dict.fromkeys(model for model, _ in rows)
        shown = list(models)[:_MOST_LISTED]
        if len(models) == len(rows):
            values = dict(rows)
            said = [f"{model} {values[model]:.4g}" for model in shown]
        else:
            ranges = {m: [value for model, value in rows if model == m] for m in shown}
            said = [f"{m} from {min(v):.4g} to {max(v):.4g}" for m, v in ranges.items()]
        more = len(models) - len(shown)
        return f"{self.title}: {', '.join(said)}{f', and {more} more' if more else ''}."


@contextmanager
def drawn(plot: Plot, *, as_text: bool = False) -> Iterator[Figure]:
    """Draw a figure; matplotlib's settings are as it needs them until the block ends."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(settings(as_text=as_text)):
        figure = Figure(layout="constrained")
        axes = figure.subplots()
        plot.draw(axes)
        axes.set_xlabel(plot.x)
        axes.set_ylabel(plot.y)
        height = plot.height
        handles, labels = axes.get_legend_handles_labels()
        if plot.legend and handles:
            columns = 3 if max(map(len, labels)) <= 12 else 2
            figure.legend(handles, labels, loc="outside lower center", ncols=columns)
            height += _LEGEND_ROW * -(-len(labels) // columns)
        figure.set_size_inches(WIDTH, height)
        yield figure
