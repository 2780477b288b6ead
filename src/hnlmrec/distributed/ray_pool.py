"""A pool of workers that Ray Data keeps busy: what goes in comes out in any order, once."""

from __future__ import annotations

import logging
import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from hnlmrec.config.engine import EngineConfig
from hnlmrec.distributed.ray_cluster import cluster
from hnlmrec.errors import HnlmrecError, ModelError
from hnlmrec.language.extras import require
from hnlmrec.process import set_up_process

T = TypeVar("T")
R = TypeVar("R")
# tasks that Ray's memory holds; more begin when these have ended, by workers that load anew
_AT_ONCE = 4096
# tasks that wait at a worker beside the one that it does: few, so that a lost one costs little
_WAITING = 2


def on_workers(
    engine: EngineConfig, make: Callable[..., Callable[[T], R]], args: tuple[Any, ...],
    tasks: Sequence[T],
) -> Iterator[R]:  # fmt: skip
    """Yield what workers make of tasks as soon as it is there.

    Ray Data hands tasks out a few at a time. Those of a worker that is lost are done again, by
    the one that takes its place.

    Parameters
    ----------
    engine
        How many workers, and what each is given.
    make, args
        ``make(*args)`` is called once in each worker and gives what is called with each task.
    tasks
        Anything that can be copied to another process, as its results can.

    Raises
    ------
    ModelError
        When a task raised an error, or a worker was lost more than ``engine.max_failures`` times.
    """
    with cluster(engine) as ray:
        for start in range(0, len(tasks), _AT_ONCE):
            yield from _work(ray, engine, make, args, tasks[start : start + _AT_ONCE])


def _work(
    ray: ModuleType, engine: EngineConfig, make: Callable[..., Callable[[T], R]],
    args: tuple[Any, ...], tasks: Sequence[T],
) -> Iterator[R]:  # fmt: skip
    data = require("ray.data", extra="ray", purpose="engine.name: ray")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # a block each: what Ray Data hands out, and does again, is one task
    rows = data.from_items([{"task": _One(task)} for task in tasks], override_num_blocks=len(tasks))
    rows.context.enable_progress_bars = False
    with warnings.catch_warnings():
        # Ray Data's own number of restarts has no end, and no parameter of its own
        warnings.simplefilter("ignore", DeprecationWarning)
        results = rows.map_batches(
            Worker,
            batch_size=None,
            fn_constructor_args=(str(Path.cwd()), engine.cpus_per_worker, make, args),
            compute=data.ActorPoolStrategy(
                size=min(engine.workers, len(tasks)), max_tasks_in_flight_per_actor=_WAITING
            ),
            num_cpus=engine.cpus_per_worker,
            num_gpus=engine.gpus_per_worker,
            max_restarts=engine.max_failures,
            max_task_retries=engine.max_failures,
        )
    try:
        for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
            yield from (_result(one.value) for one in batch["result"])
    except ray.exceptions.RayError as error:
        raise ModelError(
            f"Ray gave up ({type(error).__name__}): a worker was lost more than "
            f"{engine.max_failures} times",
            where="engine.max_failures",
            mend="see why in Ray's logs: too little memory is likely, so take fewer workers. "
            "What came back before is kept: the same command goes on from there",
        ) from None


@dataclass(frozen=True)
class _One:
    """A task or a result, so that Ray Data takes it as it is and makes no columns of it."""

    value: Any


@dataclass(frozen=True)
class _Failure:
    """Why a task has no result: the error's text, and what a HnlmrecError says beside it."""

    what: str
    where: str | None = None
    mend: str | None = None

    @classmethod
    def of(cls, error: Exception) -> _Failure:
        if isinstance(error, HnlmrecError):
            return cls(error.what, error.where, error.mend)
        last = traceback.extract_tb(error.__traceback__)[-1]
        return cls(f"{type(error).__name__}: {error}", f"{Path(last.filename).name}:{last.lineno}")


def _result(came: R | _Failure) -> R:
    if isinstance(came, _Failure):
        raise ModelError(f"a worker failed: {came.what}", where=came.where, mend=came.mend)
    return came


class Worker:
    """What runs in a worker's process; see `on_workers`."""

    def __init__(
        self, folder: str, cpus: float, make: Callable[..., Callable[[Any], Any]],
        args: tuple[Any, ...],
    ) -> None:  # fmt: skip
        with suppress(OSError):
            os.chdir(folder)  # where the paths of the configuration begin
        set_up_process(max(1, int(cpus)))
        self._make, self._args = make, args

    @cached_property
    def _do(self) -> Callable[[Any], Any]:
        # by the first task, so that its errors are told as a task's are
        return self._make(*self._args)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the tasks of a batch; an error is a result, or Ray would print and repeat it."""
        results = []
        for one in batch["task"]:
            try:
                results.append(_One(self._do(one.value)))
            except Exception as error:
                results.append(_One(_Failure.of(error)))
        column = np.empty(len(results), dtype=object)
        column[:] = results
        return {"result": column}
