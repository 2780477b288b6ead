"""Stages that train on Ray Train: workers that torch.distributed joins, started anew when lost."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hnlmrec.config import RunConfig, merge
from hnlmrec.distributed.ray_cluster import cluster
from hnlmrec.errors import HnlmrecError, ModelError

if TYPE_CHECKING:
    from hnlmrec.context import Context

# Ray keeps its own notes there while a stage runs
_NOTES = "ray.checkpoint"


def write_on_ray(context: Context, folder: Path, name: str) -> list[str]:
    """Let ``engine.workers`` processes of a Ray cluster write a stage together.

    A worker that is lost ends the others; all begin again from the stage's last checkpoint, at
    most ``engine.max_failures`` times.

    Parameters
    ----------
    context
        Of the run; workers read the same run folder.
    folder
        Of the unfinished stage, which all workers see.
    name
        Of a stage whose processes work together.

    Returns
    -------
    list[str]
        What the stage prints.

    Raises
    ------
    HnlmrecError
        What a worker raised.
    ModelError
        When workers are lost too often.
    """
    engine = context.config.engine
    with cluster(engine):
        from ray.train import FailureConfig, ScalingConfig, TrainingFailedError
        from ray.train import RunConfig as RayRun
        from ray.train.torch import TorchConfig, TorchTrainer

        on_gpus = engine.gpus_per_worker > 0
        resources = {"CPU": engine.cpus_per_worker, "GPU": engine.gpus_per_worker}
        trainer = TorchTrainer(
            _work,  # type: ignore[arg-type]  # Ray takes what it returns, and does not declare it
            train_loop_config={
                "config": context.config.model_dump(mode="json"),
                "stage": name,
                "folder": str(folder.resolve()),
                "here": str(Path.cwd()),
            },
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if on_gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=engine.workers,
                use_gpu=on_gpus,
                resources_per_worker={key: value for key, value in resources.items() if value},
            ),
            run_config=RayRun(
                name="stage",
                storage_path=str((folder / _NOTES).resolve()),
                failure_config=FailureConfig(max_failures=engine.max_failures),
            ),
        )
        try:
            # Ray declares another class than it gives
            result: Any = trainer.fit()
        except TrainingFailedError as error:
            raise _own_error(error, folder) from None
        finally:
            shutil.rmtree(folder / _NOTES, ignore_errors=True)
    lines: list[str] = result.return_value
    return lines


def _work(given: dict[str, Any]) -> list[str]:
    """What each worker does; the driver gets the lines of the first."""
    from ray import train
    from rich.console import Console

    from hnlmrec.artifacts import RunFolder
    from hnlmrec.context import Context
    from hnlmrec.distributed.world import World
    from hnlmrec.plan import plan
    from hnlmrec.process import set_up_process
    from hnlmrec.reporting import Reporter

    with suppress(OSError):
        os.chdir(given["here"])  # where the paths of the configuration begin
    config = RunConfig.from_dict(merge(given["config"], {"engine": {"name": "local"}}))
    set_up_process(config.threads)
    place = train.get_context()
    world = World(place.get_world_rank(), place.get_world_size())
    folder = Path(given["folder"])
    run = RunFolder(folder.parents[given["stage"].count("/")])
    context = Context(config, run, Reporter(Console(quiet=True)), world)
    return plan(config)[given["stage"]].write(context, folder)


def _own_error(error: Exception, folder: Path) -> HnlmrecError:
    """What a worker raised, where it is one of ours; else that workers failed."""
    failures = list(getattr(error, "worker_failures", {}).values())
    for failure in failures:
        if isinstance(failure, HnlmrecError):
            return failure
    said = str(failures[0] if failures else error).strip().splitlines()
    return ModelError(
        f"the workers of Ray Train failed too often ({said[-1] if said else error!r})",
        where=str(folder),
        mend="the log of Ray says why; run the same command again to go on from the last "
        "checkpoint, or raise engine.max_failures",
    )
