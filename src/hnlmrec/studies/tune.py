"""Choice of hyper-parameters on validation, one after another, in stages that can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import yaml
from pydantic import Field, ValidationError

from hnlmrec.config import ModelConfig, RunConfig, merge
from hnlmrec.config.loading import explain, nested, read_yaml
from hnlmrec.config.section import Section
from hnlmrec.context import Context
from hnlmrec.disk import write_atomically
from hnlmrec.errors import ConfigError
from hnlmrec.pipeline import Pipeline
from hnlmrec.plan import Stage, model_needs
from hnlmrec.training import TrainReport, train
from hnlmrec.training.model import FILE as MODEL_FILE

TRIALS_CSV = "trials.csv"
_REPORT = "report.json"


class Grid(Section):
    """What is tried for each model.

    ``spaces`` holds for each model the keys to tune, as in ``sampler.candidates``, each with its
    values. Keys are tuned in their order, each with the best values of those before it: the cost
    is the sum of the numbers of values and not their product.
    """

    seed: int = Field(0, description="seed of every trial")
    spaces: dict[str, dict[str, Annotated[list[Any], Field(min_length=1)]]] = Field(min_length=1)

    @classmethod
    def from_yaml(cls, path: Path, models: dict[str, ModelConfig]) -> Grid:
        """Read a grid for these models; a ConfigError names what is wrong in it."""
        try:
            grid = cls.model_validate(read_yaml(path))
        except ValidationError as error:
            raise ConfigError(explain(error), where=str(path)) from None
        unknown = sorted(set(grid.spaces) - set(models))
        if unknown:
            raise ConfigError(
                f"the configuration has no model {', '.join(unknown)}",
                where=f"{path}: spaces",
                mend=f"its models are {', '.join(models)}",
            )
        return grid


@dataclass(frozen=True)
class Choice:
    """What tuning found for a model.

    Parameters
    ----------
    model
        Its name.
    values
        The chosen value of each key.
    trials
        A row a trial.
    """

    model: str
    values: dict[str, Any]
    trials: list[dict[str, Any]]


def tune(pipeline: Pipeline, grid: Grid) -> Iterator[Choice]:
    """Try the values of a grid, each by one training run that stops early on validation.

    The score of a trial is its best validation Recall@20; of equal ones the first is kept. Test
    interactions are not read. A trial is a stage of the run folder, so what was tried already is
    not tried again. The run folder is locked until the last choice is given.
    """
    with pipeline.holding():
        yield from _choices(pipeline, grid)


def _choices(pipeline: Pipeline, grid: Grid) -> Iterator[Choice]:
    for name, space in grid.spaces.items():
        start = pipeline.config.models[name].model_dump(mode="json", exclude_unset=True)
        choice = Choice(name, {}, [])
        for key, candidates in space.items():
            settings = [{**choice.values, key: value} for value in candidates]
            models = [_model(start, setting, name) for setting in settings]
            reports = [_trial(pipeline, name, model, grid.seed) for model in models]
            rows = map(_row, repeat(name), settings, reports)
            best = max(range(len(reports)), key=lambda trial: reports[trial].valid_recall)
            choice = Choice(name, settings[best], [*choice.trials, *rows])
        yield choice


def write_tuned(
    tree: dict[str, Any], chosen: dict[str, dict[str, Any]], command: str, output: Path
) -> None:
    """Write the configuration ``tree`` with the chosen values, and the command that chose them."""
    models = {
        name: _with(model or {}, chosen.get(name, {}))
        for name, model in tree.get("models", {}).items()
    }
    tree = {**tree, "models": models}
    RunConfig.from_dict(tree, where=str(output))
    header = f"# Chosen on validation Recall@20 by\n# {command}\n"
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=98)
    write_atomically(output, (header + text).encode())


def write_trials(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write ``trials.csv``, a row a trial."""
    path = folder / TRIALS_CSV
    write_atomically(path, pl.DataFrame(rows).write_csv().encode())
    return path


def _model(start: dict[str, Any], values: dict[str, Any], name: str) -> ModelConfig:
    try:
        return ModelConfig.model_validate(_with(start, values))
    except ValidationError as error:
        raise ConfigError(explain(error), where=f"spaces.{name} {values}") from None


def _with(tree: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A tree with values at dotted keys."""
    for key, value in values.items():
        tree = merge(tree, nested(key, value))
    return tree


def _trial(pipeline: Pipeline, name: str, model: ModelConfig, seed: int) -> TrainReport:
    section = {"model": model.model_dump(mode="json"), "seed": seed}
    digest = hashlib.sha256(json.dumps(section, sort_keys=True).encode()).hexdigest()[:12]
    stage = Stage(f"tune/{name}-{digest}", model_needs(model), section, _writer(model, seed))
    pipeline.add(stage)
    pipeline.run([stage.name])
    report = pipeline.folder.stage(stage.name) / _REPORT
    return TrainReport.model_validate_json(report.read_bytes())


def _writer(model: ModelConfig, seed: int) -> Callable[[Context, Path], list[str]]:
    def write(context: Context, folder: Path) -> list[str]:
        language = context.language_artefacts(model)
        progress = context.reporter.progress
        report = train(model, context.interactions, seed, language, folder, progress)
        # of a trial only the report is wanted
        (folder / MODEL_FILE).unlink()
        return report.lines()

    return write


def _row(name: str, setting: dict[str, Any], report: TrainReport) -> dict[str, Any]:
    return {
        "model": name,
        "setting": json.dumps(setting),
        "valid_recall@20": report.valid_recall,
        "best_epoch": report.best_epoch,
        "epochs": report.epochs,
        "seconds": report.seconds_per_epoch * report.epochs,
    }
