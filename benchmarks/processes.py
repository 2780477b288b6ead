"""An epoch in one process and in several, and the bytes of a step that they exchange.

Run ``python benchmarks/processes.py``; ``--help`` lists the options. Processes of one machine
meet over gloo on loopback, with a thread each, and train on a synthetic set. Strong scaling is how
many times as fast several are on the same set; weak, on a set that holds for each of them as many
interactions as one process has alone. Seconds of the clock depend on what else the machine does;
those of a processor say how much of the work a process has. Bytes are those of the tensors that a
process gives to collectives, recorded and by the formulas of docs/scale.md. Numbers are measured
here and asserted nowhere.
"""

from __future__ import annotations

import json
import socket
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import distributed, multiprocessing

from hnlmrec.config import ModelConfig
from hnlmrec.distributed import World
from hnlmrec.process import set_up_process
from hnlmrec.training import build_learner
from hnlmrec.training.division import Division
from hnlmrec.training.learner import epoch_batches
from hnlmrec.training.optimizer import build_optimizer
from hnlmrec.training.trainer import run_epoch
from synthetic import synthetic

CPU = torch.device("cpu")
CANDIDATES, NEGATIVES = 8, 1
_EPOCHS = 3  # of which the fastest counts, after one that is not timed
_COLLECTIVES = ("all_reduce", "all_gather", "gather", "broadcast")


def main(
    interactions: Annotated[int, typer.Option(help="Of the largest set.")] = 200_000,
    processes: Annotated[int, typer.Option(help="How many share it out.")] = 2,
    batch_size: Annotated[int, typer.Option(help="Pairs of a step.")] = 2048,
    dim: Annotated[int, typer.Option(help="Columns of the table.")] = 64,
) -> None:
    """Print a row for each model and way of dividing it."""
    names = ("model", "divides", "alone, s", "several, s", "strong", "weak", "CPU alone, s",
             "CPU each, s", "bytes a step", "by formula", "table, MB")  # fmt: skip
    table = Table(*names, title=f"{interactions:,} interactions, {processes} processes")
    for backbone in ("mf", "lightgcn"):
        sizes = {"batch_size": batch_size, "dim": dim}
        alone = _measured(1, interactions, backbone, "data", sizes)
        smaller = _measured(1, interactions // processes, backbone, "data", sizes)
        for parallel in ("data", "columns"):
            found = _measured(processes, interactions, backbone, parallel, sizes)
            table.add_row(
                backbone,
                parallel,
                f"{alone['seconds']:.2f}",
                f"{found['seconds']:.2f}",
                f"{alone['seconds'] / found['seconds']:.2f}",
                f"{smaller['seconds'] / found['seconds']:.2f}",
                f"{alone['cpu']:.2f}",
                f"{found['cpu']:.2f}",
                f"{found['bytes']:,}",
                f"{_formula(parallel, batch_size):,}",
                f"{found['table'] / 1e6:.1f} of {alone['table'] / 1e6:.1f}",
            )
    Console(width=140).print(table)


def _formula(parallel: str, pairs: int) -> int:
    """Bytes that a process gives to the exchanges of a step."""
    if parallel == "data":
        # items and slopes of positives and negatives, and the loss, in double precision
        return 8 * (2 * pairs * (1 + NEGATIVES) + 1)
    # scores of candidates, of positives and negatives, and the squares of L2, in single precision
    return 4 * (pairs * NEGATIVES * CANDIDATES + pairs * (1 + NEGATIVES) + 1)


def _measured(size: int, n: int, backbone: str, parallel: str, sizes: dict[str, int]) -> Any:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        given = (size, port, n, backbone, parallel, sizes, result)
        multiprocessing.spawn(_one, args=given, nprocs=size)
        return json.loads(result.read_text())


def _one(
    rank: int, size: int, port: int, n: int, backbone: str, parallel: Any, sizes: dict[str, int],
    result: Path,
) -> None:  # fmt: skip
    """Train in one of the processes; the first writes what it measured."""
    set_up_process(1)
    method = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=method, rank=rank, world_size=size)
    data = synthetic(n)
    model = ModelConfig.model_validate(
        {
            "backbone": {"name": backbone, "dim": sizes["dim"], "layers": 2},
            "sampler": {"name": "dns", "candidates": CANDIDATES},
            "training": {"batch_size": sizes["batch_size"], "negatives": NEGATIVES},
        }
    )
    division = Division(World(rank, size), parallel, (data.n_users + data.n_items, sizes["dim"]))
    learner = build_learner(model, data, 0, None, CPU, division)
    optimizer = build_optimizer(learner)
    seconds, cpu = [], []
    for epoch in range(1, _EPOCHS + 2):
        division.world.wait()
        start, used = time.perf_counter(), time.process_time()
        run_epoch(learner, optimizer, data, 0, epoch, CPU)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    given = _recorded()
    order, draws = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    learner.step(next(epoch_batches(data, sizes["batch_size"], order, CPU)), draws)
    if rank == 0:
        table = learner.backbone.table
        found = {
            "seconds": min(seconds[1:]),
            "cpu": min(cpu[1:]),
            "bytes": sum(given),
            "table": 4 * table.numel(),
        }
        result.write_text(json.dumps(found))
    distributed.destroy_process_group()


def _recorded() -> list[int]:
    """From now on, the bytes of each tensor that this process gives to a collective."""
    given: list[int] = []

    def recording(collective: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            own = next(one for one in reversed(arguments) if isinstance(one, torch.Tensor))
            given.append(own.numel() * own.element_size())
            return collective(*arguments, **options)

        return call

    for name in _COLLECTIVES:
        setattr(distributed, name, recording(getattr(distributed, name)))
    return given


if __name__ == "__main__":
    typer.run(main)
