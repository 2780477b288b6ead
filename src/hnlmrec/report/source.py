"""`Source`: what a report shows of one run or one study, in one form for both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel

from hnlmrec.studies import summary as studies

# what a report shows of a study's summary
SUMMARY_SCHEMA = {
    name: kind
    for name, kind in studies.SUMMARY_SCHEMA.items()
    if name not in ("difference_low", "difference_high")
}
_KEY = {"point": pl.String, "model": pl.String, "seed": pl.Int64}
# what else a study may hold, and its columns
OPTIONAL_SCHEMAS: dict[str, dict[str, type[pl.DataType]]] = {
    "measures": {**_KEY, "measure": pl.String, "value": pl.Float64},
    "curves": {
        **_KEY,
        "epoch": pl.Float64,
        "seconds": pl.Float64,
        "measure": pl.String,
        "value": pl.Float64,
    },
    "groups": {
        **_KEY,
        "side": pl.String,
        "group": pl.Int64,
        "label": pl.String,
        "metric": pl.String,
        "value": pl.Float64,
        "users": pl.Int64,
    },
    "shift": {
        **_KEY,
        "bin": pl.Int64,
        "low": pl.Float64,
        "high": pl.Float64,
        "share": pl.Float64,
        "false": pl.Float64,
    },
}


class Axis(BaseModel):
    """What varies from point to point of a study."""

    label: str = ""
    numeric: bool = False
    log: bool = False


class Cell(BaseModel):
    """Where a study has a model at a point: the run folder's name, and the model's in it."""

    point: str
    model: str
    run: str
    stage_model: str


class Facts(BaseModel):
    """What ``study.json`` says; of a run the same is read off its configuration.

    ``points``, ``models`` and ``metrics`` are in the order in which they are shown; the first two
    metrics get figures. ``x`` is where points lie on a numeric axis whose labels are no numbers.
    """

    name: str
    title: str
    claim: str = ""
    dataset: str = ""
    axis: Axis = Axis()
    points: list[str]
    models: list[str]
    reference: str
    seeds: list[int]
    metrics: list[str]
    quick: bool = False
    command: str = ""
    versions: dict[str, str] = {}
    x: dict[str, float | None] = {}
    runs: dict[str, str] = {}
    cells: list[Cell] = []
    config: dict[str, Any] = {}

    @property
    def heading(self) -> str:
        """The title with the data set, which a study's does not name."""
        named = not self.dataset or self.dataset in self.title
        return self.title if named else f"{self.title} ({self.dataset})"


@dataclass(frozen=True, eq=False)
class Source:
    """A run or a study that a report is made of.

    Parameters
    ----------
    facts
        Names, order and provenance.
    summary
        A row a point, model and metric: columns of `SUMMARY_SCHEMA`.
    frames
        Those of `OPTIONAL_SCHEMAS` that there are and that are not empty.
    stages
        Columns ``stage``, ``seconds``, ``tokens``, ``peak_memory_mib``: the stages before the
        training of models; None where no run folder is known.
    notes
        What the run itself warned of.
    run
        Folder of the run that the explorer shows, when it is there.
    """

    facts: Facts
    summary: pl.DataFrame
    frames: dict[str, pl.DataFrame] = field(default_factory=dict)
    stages: pl.DataFrame | None = None
    notes: list[str] = field(default_factory=list)
    run: Path | None = None

    @property
    def slug(self) -> str:
        """The name as a part of file names and of ids in the page."""
        return slug(self.facts.name)

    def frame(self, name: str, point: str | None = None) -> pl.DataFrame | None:
        """A frame, of one point only when one is named; None when that leaves nothing."""
        frame = self.frames.get(name)
        if frame is not None and point is not None:
            frame = frame.filter(point=point)
        return None if frame is None or frame.is_empty() else frame

    def measure(self, name: str, point: str | None = None) -> pl.DataFrame | None:
        """Values of one measure: columns ``point``, ``model``, ``seed``, ``value``."""
        frame = self.frame("measures", point)
        if frame is None:
            return None
        found = frame.filter(pl.col("measure") == name, pl.col("value").is_finite())
        return None if found.is_empty() else found.drop("measure")


def in_schema(frame: pl.DataFrame, schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """The columns of a schema, cast to its types; a PolarsError where that cannot be."""
    return frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def slug(text: str) -> str:
    """A text as a file name: lower case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "report"


def over_seeds(frame: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Mean and standard deviation of ``value`` over seeds: columns ``by``, ``mean``, ``sd``."""
    return frame.group_by(*by, maintain_order=True).agg(
        mean=pl.col("value").mean(), sd=pl.col("value").std(ddof=1)
    )
