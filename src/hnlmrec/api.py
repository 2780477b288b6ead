"""The whole job from Python."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from rich.console import Console

from hnlmrec.artifacts import reading
from hnlmrec.config import RunConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.pipeline import Pipeline
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import COMPARE, train_name
from hnlmrec.studies.compare import TABLE_CSV, TESTS_CSV
from hnlmrec.studies.run_study import run_study
from hnlmrec.training import TrainedModel


@dataclass(frozen=True)
class FinishedRun:
    """The artefacts of a run, as Python objects."""

    pipeline: Pipeline

    @property
    def table(self) -> pl.DataFrame:
        """A row a model: mean and standard deviation over seeds of every metric."""
        return pl.read_csv(self.pipeline.folder.stage(COMPARE) / TABLE_CSV)

    @property
    def tests(self) -> pl.DataFrame:
        """Paired tests of every model against the reference."""
        return pl.read_csv(self.pipeline.folder.stage(COMPARE) / TESTS_CSV)

    @property
    def interactions(self) -> Interactions:
        """The prepared interactions."""
        return self.pipeline.context.interactions

    @property
    def item_texts(self) -> ItemTexts:
        """The prepared item texts."""
        return self.pipeline.context.item_texts

    def model(self, name: str, seed: int = 0) -> TrainedModel:
        """A trained model; its ``view`` scores users and items."""
        return TrainedModel.load(self.pipeline.folder.stage(train_name(name, seed)))


def run(config: RunConfig, *, quiet: bool = False, update: bool = False) -> FinishedRun:
    """Do all stages of a configuration; what is up to date in its folder is skipped.

    Parameters
    ----------
    config
        The whole run.
    quiet
        Print nothing.
    update
        Accept a run folder of another configuration, and redo what differs.

    Raises
    ------
    HnlmrecError
        For whatever the user can mend; it says what, where and how.
    """
    pipeline = Pipeline(config, _reporter(quiet), update=update)
    pipeline.run([COMPARE])
    return FinishedRun(pipeline)


@dataclass(frozen=True)
class FinishedStudy:
    """The tables of a study; docs/studies.md says what each holds."""

    folder: Path

    @property
    def summary(self) -> pl.DataFrame:
        """A row a point, model and metric: mean, spread, interval, tests."""
        return self.frame("summary")

    def frame(self, name: str) -> pl.DataFrame:
        """``per_user``, ``measures``, ``curves``, ``groups``, or ``shift`` where there is one."""
        path = self.folder / f"{name}.parquet"
        with reading(f"the table {name}", path, "hnlmrec study"):
            return pl.read_parquet(path)


def study(
    name: str,
    config: RunConfig,
    folder: Path,
    *,
    seeds: tuple[int, ...] | None = None,
    quick: bool = False,
    source: RunConfig | None = None,
    quiet: bool = False,
) -> FinishedStudy:
    """Run a study over a configuration; what is up to date in its folder is skipped.

    Parameters
    ----------
    name
        As ``hnlmrec studies`` lists them, or a YAML file of one's own.
    config
        Data, language stages and models with their tuned settings.
    folder
        Holds the study and the runs that studies of this configuration share.
    seeds
        In the place of the study's.
    quick
        Few epochs and one seed, to see that it runs.
    source
        The configuration that a transferred model is fine-tuned by.
    quiet
        Print nothing.

    Raises
    ------
    HnlmrecError
        For whatever the user can mend; it says what, where and how.
    """
    finished = run_study(
        name,
        config,
        folder,
        _reporter(quiet),
        dataset=folder.name,
        quick=quick,
        seeds=seeds,
        source=source,
    )
    return FinishedStudy(finished)


def _reporter(quiet: bool) -> Reporter:
    return Reporter(Console(file=io.StringIO()) if quiet else Console())
