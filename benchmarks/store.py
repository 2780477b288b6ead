"""Time the negative store: writing it, and reading random rows of it, beside NumPy and torch.

Run ``python benchmarks/store.py --folder DIR`` on the disk that is meant; ``--help`` lists the
options. 10 million rows of 576 numbers take 11.5 GB in float16. Also times the amortized head,
which makes the same rows when they are needed. Numbers are measured here and asserted nowhere.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from hnlmrec.measure import Meter
from hnlmrec.process import set_up_process
from hnlmrec.synthesis.head import FusionHead, fuse
from hnlmrec.synthesis.vectors import Shape, VectorTable

BATCH, BATCHES, WRITTEN_TOGETHER = 2048, 200, 65_536
DIM, TRIALS = 64, 20


def main(
    folder: Annotated[Path | None, typer.Option(help="Where to write; a temporary one.")] = None,
    rows: Annotated[list[int] | None, typer.Option(help="Rows; repeat for several.")] = None,
    width: Annotated[int, typer.Option(help="Numbers of a row.")] = 576,
    threads: Annotated[int, typer.Option(help="Threads.")] = 2,
) -> None:
    """Print a table of times."""
    set_up_process(threads)
    table = Table(title=f"rows of {width} numbers, {threads} threads, batches of {BATCH:,}")
    for name in ("rows", "stored as", "GB", "written, rows/s", "read, rows/s", "numpy", "torch"):
        table.add_column(name, justify="right")
    for n in rows or [514_000]:
        for storage in ("float16", "int8"):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                table.add_row(f"{n:,}", storage, *_store(Path(place), n, width, storage))
    console = Console()
    console.print(table)
    console.print(f"peak {Meter().peak_memory_mib():,.0f} MiB, mapped pages included")
    console.print(f"computed by the amortized head: {_live(width):,.0f} rows/s")


def _store(folder: Path, n: int, width: int, storage: str) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    block = torch.randn(min(n, WRITTEN_TOGETHER), width, generator=generator)
    block = torch.nn.functional.normalize(block, dim=1)
    table = VectorTable.create(folder / "t", Shape(n, width, "", storage))  # type: ignore[arg-type]
    start = time.perf_counter()
    for first in range(0, n, len(block)):
        some = np.arange(first, min(first + len(block), n))
        table.write(some, block[: len(some)])
    written = n / (time.perf_counter() - start)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
    table = VectorTable.open(folder / "t")
    batches = [np.random.default_rng(k).integers(0, n, BATCH) for k in range(BATCHES)]
    ours = _rate(lambda batch: table.read(batch), batches)
    numpys = torchs = ""
    if storage == "float16":
        # the same rows in one file, as one would keep them without shards
        with (folder / "flat").open("wb") as flat:
            for shard in sorted(folder.glob("t-*")):
                with shard.open("rb") as part:
                    shutil.copyfileobj(part, flat, 1 << 24)
                shard.unlink()
        halves = np.memmap(folder / "flat", np.float16, "r+", shape=(n, width))
        numpys = f"{_rate(lambda batch: halves[batch].astype(np.float32), batches):,.0f}"
        rows = torch.from_numpy(np.asarray(halves))
        torchs = f"{_rate(lambda batch: rows[torch.from_numpy(batch)].float(), batches):,.0f}"
    return [f"{size:.1f}", f"{written:,.0f}", f"{ours:,.0f}", numpys, torchs]


def _rate(read: Callable[[np.ndarray], object], batches: list[np.ndarray]) -> float:
    """Rows a second by the median batch, after all batches were read once."""
    seconds = []
    for number in range(2):
        for batch in batches:
            start = time.perf_counter()
            read(batch)
            if number:
                seconds.append(time.perf_counter() - start)
    return BATCH / statistics.median(seconds)


@torch.no_grad()
def _live(width: int) -> float:
    head = FusionHead(width, DIM).eval()
    states, embeddings = torch.randn(2, BATCH, width), torch.randn(2, BATCH, DIM)
    seconds = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        fuse(
            head, (states[0], states[1]), (embeddings[0], embeddings[1]), torch.zeros(2, width),
            collaborative=True,
        )  # fmt: skip
        seconds.append(time.perf_counter() - start)
    return BATCH / statistics.median(seconds)


if __name__ == "__main__":
    typer.run(main)
