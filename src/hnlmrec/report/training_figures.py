"""Figures of what training reported epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from hnlmrec.report import frames, plots
from hnlmrec.report.plot import Plot
from hnlmrec.report.scene import Scene
from hnlmrec.report.source import slug

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONVERGENCE, TRAINING = "Convergence", "Losses and alignment"
_MEAN = "mean over seeds, as far as all of them were trained"
_RECALL = "validation Recall@20"
# what training reports that is neither a part of the loss nor drawn elsewhere
_NO_LOSS = ("valid_recall", "missing")
# title, and label of the axis
_GEOMETRY = {
    "hard_cosine": ("cosine of user and synthesised negative", "cosine"),
    "positive_cosine": ("cosine of user and positive", "cosine"),
    "hard_norm": ("length of the synthesised negative, over an item's", "relative length"),
    "hard_rank": ("effective rank of the synthesised negatives", "effective rank"),
}


def convergence_plots(scene: Scene) -> list[Plot]:
    """Validation recall by epoch, and by wall time after the language stages."""
    rows = _rows(scene, "valid_recall")
    if rows is None:
        return []
    offset = ""
    if scene.source.measure("language_seconds", scene.point) is not None:
        offset = "a model that needs the language stages starts when they are done"
    by_epoch = rows.with_columns(x=pl.col("epoch"))
    by_time = rows.with_columns(x=pl.col("seconds"))
    return [
        Plot(
            "curve-valid-recall", CONVERGENCE, f"{_RECALL} by epoch",
            scene.caption(_MEAN, one_point=True, lines=True), "epoch", _RECALL, by_epoch,
            lambda axes: plots.lines(axes, by_epoch, scene.few),
        ),
        Plot(
            "curve-valid-recall-seconds", CONVERGENCE, f"{_RECALL} by wall time",
            scene.caption(offset, one_point=True, lines=True), "wall time, s", _RECALL, by_time,
            lambda axes: plots.lines(axes, by_time, scene.few),
        ),
    ]  # fmt: skip


def training_plots(scene: Scene) -> list[Plot]:
    """Parts of the loss, and where the synthesised negatives stand."""
    curves = scene.source.frame("curves", scene.point)
    if curves is None:
        return []
    names = curves["measure"].unique(maintain_order=True).to_list()
    parts = [name for name in names if name not in (*_NO_LOSS, *_GEOMETRY)]
    found = [_plot(scene, name, f"loss: {name}", name, is_loss=True) for name in parts]
    found += [_plot(scene, name, *said) for name, said in _GEOMETRY.items() if name in names]
    return [plot for plot in found if plot is not None]


def _plot(scene: Scene, name: str, title: str, label: str, *, is_loss: bool = False) -> Plot | None:
    rows = _rows(scene, name)
    if rows is None:
        return None
    over = rows.with_columns(x=pl.col("epoch"))

    def draw(axes: Axes) -> None:
        plots.lines(axes, over, scene.few)
        if is_loss and (over["mean"] > 0).all():
            # losses of different kinds are of different size
            plots.log_y(axes)

    caption = scene.caption(_MEAN, one_point=True, lines=True)
    return Plot(
        f"curve-{slug(name)}", TRAINING, f"{title} by epoch", caption, "epoch", label, over, draw
    )


def _rows(scene: Scene, measure: str) -> pl.DataFrame | None:
    """What training reported of the models that are drawn as lines."""
    rows = frames.convergence(scene.source, measure, scene.point)
    if rows is None:
        return None
    rows = rows.filter(pl.col("model").is_in(list(scene.few)))
    return None if rows.is_empty() else rows
