"""Time the stages' work: an epoch, full ranking, encoding of texts; with peak memory.

Run ``python benchmarks/stages.py``; ``--help`` lists the options. It reads the embedded
MovieLens-100k and language model. Numbers are measured here and asserted nowhere.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from hnlmrec.config import DataConfig, LanguageConfig, ModelConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.data.prepare import prepare
from hnlmrec.evaluation import evaluate
from hnlmrec.language import LocalLanguageModel
from hnlmrec.measure import Meter
from hnlmrec.training.learner import Learner, build_learner, epoch_batches

CPU = torch.device("cpu")
BACKBONES = ("mf", "lightgcn")
SAMPLERS = ("uniform", "dns")


def main(
    model: Annotated[str, typer.Option(help="Language model, as in language.model.")] = (
        "embedded:smollm2"
    ),
    texts: Annotated[int, typer.Option(help="Texts to encode.")] = 64,
    threads: Annotated[int, typer.Option(help="Threads; 0 leaves them to torch.")] = 0,
) -> None:
    """Print a table of times."""
    if threads:
        torch.set_num_threads(threads)
    table = Table(title=f"MovieLens-100k, {torch.get_num_threads()} threads, median of the runs")
    for name in ("what", "seconds", "rate", "peak MiB"):
        table.add_column(name, justify="left" if name == "what" else "right")
    with tempfile.TemporaryDirectory() as folder:
        prepare(DataConfig(), Path(folder))
        interactions = Interactions.load(Path(folder))
        titles = ItemTexts.load(Path(folder)).titles()
    for backbone in BACKBONES:
        for sampler in SAMPLERS:
            config = ModelConfig.model_validate(
                {"backbone": {"name": backbone}, "sampler": {"name": sampler}}
            )
            learner = build_learner(config, interactions, 0, None, CPU)
            run = _epoch(learner, interactions)
            pairs = interactions.train.nnz
            _row(table, f"epoch, {backbone}, {sampler}", run, pairs, "pairs/s")
    with torch.no_grad():
        view = learner.backbone.embeddings()
    users = interactions.n_users
    _row(
        table, "full ranking", lambda: evaluate(view, interactions, "test", [20]), users, "users/s"
    )
    language = LocalLanguageModel.load(LanguageConfig(model=model))
    some = (titles * (texts // len(titles) + 1))[:texts]
    _row(table, f"encoding titles, {model}", lambda: language.encode(some), texts, "texts/s")
    Console().print(table)


def _epoch(learner: Learner, interactions: Interactions) -> Callable[[], None]:
    optimizer = torch.optim.Adam(learner.parameters(), lr=learner.config.training.lr)
    generator = torch.Generator().manual_seed(0)

    def run() -> None:
        size = learner.config.training.batch_size
        for batch in epoch_batches(interactions, size, generator, CPU):
            loss, _ = learner.loss(batch, generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return run


def _row(table: Table, what: str, run: Callable[[], object], work: int, unit: str) -> None:
    run()
    meter, seconds = Meter(), []
    for _ in range(5):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    rate = f"{work / median:,.0f} {unit}"
    table.add_row(what, f"{median:.3f}", rate, f"{meter.peak_memory_mib():,.0f}")


if __name__ == "__main__":
    typer.run(main)
