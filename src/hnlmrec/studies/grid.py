"""From a study and a configuration to the runs and cells that it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hnlmrec.artifacts import content_key
from hnlmrec.config import NO_CONTENT, ModelConfig, RunConfig, merge
from hnlmrec.config.loading import explain, nested, without
from hnlmrec.errors import ConfigError
from hnlmrec.studies.definition import SOURCE, Study, Variant

# what the short form changes besides what a study says itself
_QUICK_RUN = {
    "synthesis.pretrain_epochs": 4,
    "synthesis.finetune.steps": 1,
    "synthesis.finetune.batch_users": 2,
    "synthesis.finetune.head_steps": 40,
    "synthesis.finetune.head_batch": 128,
    "language.max_tokens": 12,
}
_QUICK_MODEL = {"training.epochs": 4, "training.evaluate_every": 2}
# keys that change nothing of what the runs of a folder share
_NOT_OF_A_RUN = {"run", "models", "seeds", "evaluation", "threads"}


@dataclass(frozen=True)
class Cell:
    """A model at a point of the axis: one training run a seed.

    Parameters
    ----------
    point
        Label of the point.
    model
        Name in the study's tables.
    run
        Name of the run folder that holds it.
    stage_model
        Name in that run: the study's, with a hash of its settings, so that studies share what
        they have in common and never overwrite each other.
    """

    point: str
    model: str
    run: str
    stage_model: str


@dataclass(frozen=True)
class Grid:
    """All that a study trains.

    Parameters
    ----------
    study
        The study, in its short form if that was asked for.
    runs
        Configurations by the name of their run folder, below ``folder``.
    cells
        A model at a point each, in the order of the tables.
    source
        The run whose fine-tuned model others transfer, if any.
    """

    study: Study
    runs: dict[str, RunConfig]
    cells: list[Cell]
    source: str | None = None

    @property
    def points(self) -> list[str]:
        """Labels of the points, in order."""
        return list(dict.fromkeys(cell.point for cell in self.cells))

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(dict.fromkeys(cell.model for cell in self.cells))


def build_grid(
    study: Study,
    config: RunConfig,
    folder: Path,
    *,
    quick: bool = False,
    seeds: tuple[int, ...] | None = None,
    source: RunConfig | None = None,
) -> Grid:
    """Lay a study over a configuration.

    Parameters
    ----------
    study
        What is varied.
    config
        Data, language stages and models with their tuned settings.
    folder
        Holds the run folders; cells that differ in nothing but the model share one.
    quick
        Few epochs and steps, one seed.
    seeds
        In the place of the study's.
    source
        The configuration that a transferred model is fine-tuned by.

    Raises
    ------
    ConfigError
        When the configuration lacks a model, or a changed one is invalid.
    """
    study = _shortened(study) if quick else study
    study = study.model_copy(update={"seeds": seeds}) if seeds else study
    if study.needs_source and source is None:
        raise ConfigError(
            "this study transfers a model from other data, and none is given",
            mend="name the configuration of that data by --source",
        )
    shared, short = study.run, {}
    if quick:
        shared = {**_QUICK_RUN, **study.run, **study.quick.run}
        short = {**_QUICK_MODEL, **study.quick.model}
    runs: dict[str, RunConfig] = {}
    source_run = None
    if source is not None and study.needs_source:
        source_run, runs = _source_run(source, shared, folder)
    cells = []
    for label, point in study.points.items():
        for name, variant in _variants(study, config).items():
            changes = {**shared, **point.run, **variant.run}
            changes = {k: _resolved(v, source_run, folder) for k, v in changes.items()}
            of_model = {**short, **point.model, **variant.model}
            model = _changed_model(config, name, variant, of_model)
            run = _run_of(config, changes, folder)
            stage_model = f"{name}-{content_key(model.model_dump(mode='json'))[:8]}"
            held = runs.get(run.run.name, run)
            held = held.model_copy(update={"models": {**held.models, stage_model: model}})
            runs[run.run.name] = held
            cells.append(Cell(label, name, run.run.name, stage_model))
    finished = {name: _finished(one, study.seeds) for name, one in runs.items()}
    return Grid(study, finished, cells, source_run)


def _shortened(study: Study) -> Study:
    """The study with the points of its short form and one seed."""
    kept = {name: study.points[name] for name in study.quick.points or study.points}
    return study.model_copy(update={"points": kept, "seeds": study.seeds[:1]})


def _variants(study: Study, config: RunConfig) -> dict[str, Variant]:
    """Rows of the tables; optional ones only where the configuration has what they are of."""
    models = study.models or {name: Variant() for name in config.models}
    found = {
        name: variant
        for name, variant in models.items()
        if (variant.of or name) in config.models or name not in study.optional
    }
    wanted = {one.of or name for name, one in found.items()}
    if study.reference not in found:
        wanted.add(study.reference)
    lacking = sorted(wanted - set(config.models))
    if lacking:
        raise ConfigError(
            f"the study needs the model {', '.join(lacking)}, which the configuration has not",
            where="models",
            mend=f"add it; there are {', '.join(config.models)}",
        )
    return found


def _changed_model(
    config: RunConfig, name: str, variant: Variant, changes: dict[str, Any]
) -> ModelConfig:
    tree = config.models[variant.of or name].model_dump(mode="json")
    for key, value in changes.items():
        tree = merge(tree, nested(key, value))
    try:
        return ModelConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error), where=f"{name} {changes}") from None


def _run_of(config: RunConfig, changes: dict[str, Any], folder: Path) -> RunConfig:
    """The configuration of a run without models yet; its folder is named after what it changes."""
    tree = config.model_dump(mode="json")
    for key, value in changes.items():
        tree = merge(tree, nested(key, value))
    changed = RunConfig.from_dict(tree, where=", ".join(changes) or "the configuration")
    sections = without(changed.model_dump(mode="json", exclude=_NOT_OF_A_RUN), NO_CONTENT)
    label = "-".join(_words(changes)) or "base"
    name = f"{label[:60]}-{content_key(sections)[:8]}"
    return changed.model_copy(update={"run": folder / name, "models": {}})


def _words(changes: dict[str, Any]) -> Iterator[str]:
    """Short names of changes for a folder's name."""
    for key, value in changes.items():
        if key not in _QUICK_RUN:
            text = f"{key.rpartition('.')[2]}-{Path(str(value)).name}"
            yield "".join(c if c.isalnum() or c in "._-" else "_" for c in text)


def _source_run(
    source: RunConfig, shared: dict[str, Any], folder: Path
) -> tuple[str, dict[str, RunConfig]]:
    """The run that a transferred model is fine-tuned in; it trains no CF model of the study."""
    run = _run_of(source, shared, folder)
    run = run.model_copy(update={"models": source.models})
    return run.run.name, {run.run.name: run}


def _resolved(value: Any, source_run: str | None, folder: Path) -> Any:
    return str(folder / source_run) if value == SOURCE and source_run else value


def _finished(run: RunConfig, seeds: tuple[int, ...]) -> RunConfig:
    """The run with the study's seeds, checked as a whole."""
    reference = next(iter(run.models))
    tree = run.model_dump(mode="json")
    tree |= {"seeds": list(seeds)}
    tree["evaluation"] = {**tree["evaluation"], "reference": reference}
    return RunConfig.from_dict(json.loads(json.dumps(tree)), where=str(run.run))
