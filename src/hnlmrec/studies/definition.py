"""What a study is: models, variants and an axis, laid over a run's configuration."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from hnlmrec.config.loading import explain, read_yaml
from hnlmrec.config.section import Section
from hnlmrec.errors import ConfigError

SOURCE = "$source"
_RUN_SECTIONS = ("data", "language", "profile", "synthesis", "pick", "seed")
_SUFFIX = ".yaml"


class Axis(Section):
    """What the points of a study lie on."""

    label: str = Field("", description="what is written along it")
    numeric: bool = Field(False, description="whether points are numbers, joined by lines")
    log: bool = Field(False, description="whether it is logarithmic")


class Changes(Section):
    """What a study changes of the configuration that it is given, by dotted keys."""

    run: dict[str, Any] = Field({}, description="of the run's other sections, as data.core")
    model: dict[str, Any] = Field({}, description="of a model, as training.negatives")

    @model_validator(mode="after")
    def _run_is_no_model(self) -> Self:
        for key in self.run:
            if key.partition(".")[0] not in _RUN_SECTIONS:
                raise ValueError(
                    f"run changes {', '.join(_RUN_SECTIONS)}; {key} belongs under model"
                )
        return self


class Point(Changes):
    """A point of the axis: changes that all models share."""

    x: float | None = Field(None, description="where on a numeric axis")


class Variant(Changes):
    """A row of the tables: a model of the configuration, and what is changed of it."""

    of: str | None = Field(None, description="that model; null: the one of the same name")


class Quick(Changes):
    """What the short form changes: it shows that a study runs, not what it finds."""

    points: list[str] | None = Field(None, description="the points that are kept; null: all")


class Study(Section):
    """A table or figure: which models, under which changes, with which seeds."""

    title: str
    claim: str = Field(description="what the paper says, in a sentence")
    source: str = Field("", description="table or figure of the paper")
    axis: Axis = Axis()
    run: dict[str, Any] = Field({}, description="changes at all points, as in `Changes`")
    points: dict[str, Point] = Field({"": Point()}, min_length=1)
    models: dict[str, Variant] | None = Field(
        None, description="null: all of the configuration", min_length=1
    )
    optional: list[str] = Field([], description="left out where the configuration has no such one")
    reference: str = Field(description="the model that others are tested against")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    metrics: tuple[str, ...] = Field(("recall", "ndcg"), description="of the summary, at all K")
    shift: bool = Field(False, description="whether the hardness of negatives is looked at")
    quick: Quick = Quick()

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        Changes(run=self.run)
        if self.axis.numeric and any(point.x is None for point in self.points.values()):
            raise ValueError("the axis is numeric, so every point needs an x")
        missing = set(self.quick.points or ()) - set(self.points)
        if missing:
            raise ValueError(
                f"quick.points names {', '.join(sorted(missing))}, which are no points"
            )
        if self.models is not None and self.reference not in self.models:
            raise ValueError(f"the reference {self.reference!r} is none of the models")
        return self

    @property
    def needs_source(self) -> bool:
        """Whether it needs a second configuration, to fine-tune on."""
        changes: list[Changes] = [*self.points.values(), *(self.models or {}).values()]
        return any(SOURCE in one.run.values() for one in changes)

    @classmethod
    def load(cls, name: str) -> Self:
        """Read the study of that name, or a YAML file of one's own.

        Raises
        ------
        ConfigError
            When there is none, or it is not as a study must be.
        """
        if name.endswith(_SUFFIX):
            tree = read_yaml(Path(name))
        elif name in study_names():
            text = (_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
            tree = yaml.safe_load(text)
        else:
            raise ConfigError(
                f"there is no study {name!r}; there are {', '.join(study_names())}",
                mend="name one of them, or a YAML file",
            )
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(explain(error), where=name) from None


def study_names() -> list[str]:
    """Names of the studies that come with the library."""
    files = (entry.name for entry in _folder().iterdir())
    return sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX))


def _folder() -> Traversable:
    return resources.files("hnlmrec.studies") / "definitions"
