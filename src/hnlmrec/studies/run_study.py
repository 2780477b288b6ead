"""Run a study: train its grid, resumably, and write what was found."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.config import RunConfig
from hnlmrec.disk import remove_partials, write_atomically
from hnlmrec.errors import ConfigError
from hnlmrec.lock import FolderLock
from hnlmrec.pipeline import Pipeline
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import FINETUNE, evaluate_name
from hnlmrec.stage_records import versions
from hnlmrec.studies.definition import Study
from hnlmrec.studies.frames import collect, write_parquet
from hnlmrec.studies.grid import Cell, Grid, build_grid
from hnlmrec.studies.shift import add_shift_stages, shift_name
from hnlmrec.studies.summary import summarise

SUMMARY, STUDY, RUNS = "summary.parquet", "study.json", "runs"
_BAR = 24


def run_study(
    name: str,
    config: RunConfig,
    root: Path,
    reporter: Reporter,
    *,
    dataset: str,
    command: str = "",
    quick: bool = False,
    seeds: tuple[int, ...] | None = None,
    source: RunConfig | None = None,
) -> Path:
    """Train and evaluate all cells of a study, write its tables and print its summary.

    What is up to date is skipped, in this study as in others that share its runs, so an
    interrupted study goes on where it was. Its folder and those of its runs are locked meanwhile.

    Parameters
    ----------
    name
        Of a study, or the YAML file of one.
    config
        Data, language stages and models with their tuned settings.
    root
        Holds the study's folder, named after it, and ``runs``, which studies share.
    reporter
        Prints.
    dataset, command
        For ``study.json``: what the data is called, and what to repeat.
    quick, seeds, source
        As in `build_grid`.

    Returns
    -------
    Path
        The study's folder: ``study.json``, ``summary.parquet`` and ``.csv``, the tables of
        `Frames`.
    """
    grid = build_grid(
        Study.load(name), config, root / RUNS, quick=quick, seeds=seeds, source=source
    )
    label = Path(name).stem
    if not re.fullmatch(r"[\w][\w.-]*", label) or label == RUNS:
        raise ConfigError(
            f"{label!r} would name the study's folder",
            where=name,
            mend="call the file by letters, digits, '_', '.' and '-', and not runs.yaml",
        )
    folder = root / (f"{label}-quick" if quick else label)
    with ExitStack() as locks:
        pipelines = _locked(grid, folder, root / RUNS, reporter, locks)
        if grid.source is not None:
            pipelines[grid.source].run([FINETUNE])
        if grid.study.shift:
            for cell in grid.cells:
                add_shift_stages(pipelines[cell.run], cell.stage_model)
        _train(grid, pipelines, reporter)
        frames = collect(grid.cells, pipelines, grid.study.seeds, shift=grid.study.shift)
        cutoffs = pipelines[grid.cells[0].run].config.evaluation.cutoffs
        metrics = [
            f"{metric}@{k}" for k in sorted(cutoffs, reverse=True) for metric in grid.study.metrics
        ]
        summary = summarise(frames.per_user, grid.study.reference, metrics)
        frames.save(folder)
        write_parquet(summary, folder / SUMMARY)
        write_atomically(folder / "summary.csv", summary.write_csv().encode())
        facts = {"name": label, "dataset": dataset, "command": command, "quick": quick}
        record = facts | _record(grid, metrics, folder)
        write_atomically(folder / STUDY, json.dumps(record, indent=1).encode())
    for line in _lines(summary, grid, metrics[0]):
        reporter.line(line)
    return folder


def _locked(
    grid: Grid, folder: Path, shared: Path, reporter: Reporter, locks: ExitStack
) -> dict[str, Pipeline]:
    """The pipelines of the study by run; its folder and theirs stay locked until ``locks`` ends."""
    locks.enter_context(FolderLock(folder).held())
    remove_partials(folder)
    # two studies that begin together would each write a `config.yaml` without the other's models
    with FolderLock(shared).held():
        pipelines = {run: _pipeline(config, reporter) for run, config in grid.runs.items()}
        for pipeline in pipelines.values():
            locks.enter_context(pipeline.holding())
    return pipelines


def _pipeline(config: RunConfig, reporter: Reporter) -> Pipeline:
    """A pipeline of the study's models, which leaves in ``config.yaml`` those of other studies."""
    file = config.run / "config.yaml"
    if file.is_file():
        theirs = RunConfig.from_yaml(file).models
        config = config.model_copy(update={"models": {**config.models, **theirs}})
    return Pipeline(config, reporter, update=True)


def _train(grid: Grid, pipelines: dict[str, Pipeline], reporter: Reporter) -> None:
    """Bring all cells up to date; say before each how far the study is."""
    todo = [(cell, seed) for cell in grid.cells for seed in grid.study.seeds]
    clock = _Clock(len(todo))
    for done, (cell, seed) in enumerate(todo):
        stages = _stages(cell, seed, shift=grid.study.shift)
        pipeline = pipelines[cell.run]
        if all(pipeline.is_done(stage) for stage in stages):
            clock.skip()
            continue
        at = f" at {cell.point}" if cell.point else ""
        reporter.line(f"{clock.bar(done)}: {cell.model}{at}, seed {seed}")
        with clock:
            pipeline.run(stages)
    reporter.line(clock.bar(len(todo)))


def _stages(cell: Cell, seed: int, *, shift: bool) -> list[str]:
    wanted = [evaluate_name(cell.stage_model, seed)]
    return [*wanted, shift_name(cell.stage_model, seed)] if shift else wanted


class _Clock:
    """How far a study is and how long the rest may take, from what cells have taken so far."""

    def __init__(self, total: int) -> None:
        self._total, self._left = total, total
        self._took: list[float] = []
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._took.append(time.perf_counter() - self._started)
        self._left -= 1

    def skip(self) -> None:
        """Count a cell that was up to date."""
        self._left -= 1

    def bar(self, done: int) -> str:
        """The progress as text."""
        full = _BAR * done // self._total
        text = f"[{'=' * full}{' ' * (_BAR - full)}] {done} of {self._total}"
        if self._took and self._left:
            minutes = sum(self._took) / len(self._took) * self._left / 60
            text += f", about {minutes:.0f} min left"
        return text


def _record(grid: Grid, metrics: list[str], folder: Path) -> dict[str, Any]:
    study = grid.study
    runs = {cell.point: grid.runs[cell.run].run for cell in reversed(grid.cells)}
    return {
        "title": study.title,
        "claim": study.claim,
        "source": study.source,
        "axis": study.axis.model_dump(),
        "points": grid.points,
        "x": {label: study.points[label].x for label in grid.points},
        "models": grid.models,
        "reference": study.reference,
        "seeds": list(study.seeds),
        "metrics": metrics,
        "runs": {point: _relative(run, folder) for point, run in runs.items()},
        "cells": [vars(cell) for cell in grid.cells],
        "config": {run: config.model_dump(mode="json") for run, config in grid.runs.items()},
        "versions": versions(),
    }


def _relative(run: Path, folder: Path) -> str:
    return Path(os.path.relpath(run, folder)).as_posix()


def _lines(summary: pl.DataFrame, grid: Grid, metric: str) -> list[str]:
    """The first metric of all cells, for the terminal."""
    lines = [f"{metric} on test (mean over {len(grid.study.seeds)} seed(s)):"]
    for row in summary.iter_rows(named=True):
        if row["metric"] != metric:
            continue
        spread = "" if row["sd"] is None else f" ± {row['sd']:.4f}"
        test = ""
        if row["p_t_holm"] is not None:
            test = f"  {row['difference']:+.4f}, p = {row['p_t_holm']:.2g}"
        at = f"{row['point']}: " if row["point"] else ""
        lines.append(f"  {at}{row['model']}  {row['mean']:.4f}{spread}{test}")
    lines.append(f"differences and p (paired t over users, Holm) against {grid.study.reference}")
    return lines
