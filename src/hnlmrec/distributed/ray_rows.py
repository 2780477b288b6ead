"""Rows of vectors by Ray's workers, written down here as they come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.context import Context
from hnlmrec.distributed.ray_pool import on_workers
from hnlmrec.distributed.work import fillings_of
from hnlmrec.reporting import Reporter
from hnlmrec.synthesis.vectors import VectorTable

# the number of a table, and of a chunk in it
Task = tuple[int, int]
Computed = tuple[Task, npt.NDArray[Any]]


def fill_ahead(context: Context, stage: str, folder: Path) -> None:
    """Let workers fill the tables of a stage; what is written already is not computed again.

    Workers read what the stage needs from the run folder, which they see.

    Parameters
    ----------
    context
        Of the run.
    stage
        Of `hnlmrec.distributed.work.FILLING`.
    folder
        Of the unfinished stage.
    """
    config, progress = context.config, context.reporter.progress
    fillings = fillings_of(context, stage)
    tables = [VectorTable.create(folder / one.name, one.shape) for one in fillings]
    tasks = [
        (number, chunk)
        for number, (filling, table) in enumerate(zip(fillings, tables, strict=True))
        for chunk in filling.chunks(table.missing())
    ]
    args = (config, stage)
    computed = on_workers(config.engine, _compute, args, tasks)
    for done, ((number, chunk), vectors) in enumerate(computed, start=1):
        filling = fillings[number]
        tables[number].write(filling.rows(chunk), torch.from_numpy(vectors))
        progress(filling.what, done * filling.chunk, len(tasks) * filling.chunk)


def _compute(config: RunConfig, stage: str) -> Callable[[Task], Computed]:
    """In a worker: compute chunks, by a language model that the first of them loads."""
    context = Context(config, RunFolder(config.run), Reporter(Console(quiet=True)))
    fillings = fillings_of(context, stage)

    def compute(task: Task) -> Computed:
        number, chunk = task
        filling = fillings[number]
        vectors = filling.compute(filling.rows(chunk)).float().cpu().numpy()
        return task, np.ascontiguousarray(vectors)

    return compute
