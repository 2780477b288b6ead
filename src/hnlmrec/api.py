"""The whole job from Python."""

from __future__ import annotations

import io
from dataclasses import dataclass

import polars as pl
from rich.console import Console

from hnlmrec.config import RunConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.pipeline import Pipeline
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import COMPARE, train_name
from hnlmrec.studies.compare import TABLE_CSV, TESTS_CSV
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
    console = Console(file=io.StringIO()) if quiet else Console()
    pipeline = Pipeline(config, Reporter(console), update=update)
    pipeline.run([COMPARE])
    return FinishedRun(pipeline)
