"""What a LoRA step in pieces takes: CPU-seconds, and bytes that autograd holds, by `micro_batch`.

Run ``python benchmarks/pieces.py``; ``--help`` lists the options. The queries are numbered titles,
padded to one length. Ways take turns, and the fastest turn of each counts, so that other work on
the machine matters less. Numbers are measured here and asserted nowhere.
"""

from __future__ import annotations

import time
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from hnlmrec.config import FinetuneConfig, LanguageConfig
from hnlmrec.distributed import ALONE
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.process import set_up_process
from hnlmrec.synthesis.pieces import PieceEncoder
from hnlmrec.synthesis.query import QueryEncoder, Segments

DIM = 64


def main(
    model: Annotated[str, typer.Option(help="As in language.model.")] = "embedded:smollm2",
    batch: Annotated[int, typer.Option(help="Queries of a step.")] = 16,
    tokens: Annotated[int, typer.Option(help="Tokens of a query.")] = 32,
    dropout: Annotated[float, typer.Option(help="Of LoRA.")] = 0.05,
    turns: Annotated[int, typer.Option(help="Steps timed of each way.")] = 3,
    threads: Annotated[int, typer.Option(help="Threads.")] = 2,
) -> None:
    """Print a table of times and bytes."""
    set_up_process(threads)
    language = LocalLanguageModel.load(LanguageConfig(model=model, max_tokens=tokens))
    generator = torch.Generator().manual_seed(0)
    encoder = QueryEncoder(language, FinetuneConfig(dropout=dropout), DIM, generator)
    encoder.add_lora(0)
    encoder.train()
    texts = [f"Film {number}, " + "a comedy and a drama " * tokens for number in range(batch)]
    queries = encoder.segments("item", texts, torch.randn(batch, DIM, generator=generator))
    sizes = [batch >> shift for shift in range(batch.bit_length())]
    ways = {None: None, **{size: PieceEncoder(encoder, size, ALONE) for size in sizes}}
    seconds: dict[int | None, float] = {}
    for _ in range(turns):
        for size, pieces in ways.items():
            start = time.process_time()
            _step(encoder, pieces, queries)
            seconds[size] = min(time.process_time() - start, seconds.get(size, float("inf")))
    table = Table(title=f"{model}: a step of {batch} queries of {tokens} tokens")
    for name in ("micro_batch", "CPU s", "times the whole batch's", "MiB held"):
        table.add_column(name, justify="right")
    for size, pieces in ways.items():
        held = _held(encoder, pieces, queries) / 2**20
        times = seconds[size] / seconds[None]
        table.add_row(str(size or "null"), f"{seconds[size]:.2f}", f"{times:.2f}", f"{held:,.0f}")
    Console().print(table)


def _step(encoder: QueryEncoder, pieces: PieceEncoder | None, queries: Segments) -> None:
    states = encoder(queries) if pieces is None else pieces(queries)
    states.square().sum().backward()
    if pieces is not None:
        pieces.push()


def _held(encoder: QueryEncoder, pieces: PieceEncoder | None, queries: Segments) -> int:
    """The most bytes that autograd held at a time in a step, weights aside."""
    held = most = 0
    weights = {weight.data_ptr() for weight in encoder.parameters()}

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal held, most
            self.tensor = tensor
            self.bytes = 0 if tensor.data_ptr() in weights else tensor.nbytes
            held += self.bytes
            most = max(most, held)

        def __del__(self) -> None:
            nonlocal held
            held -= self.bytes

    with saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        _step(encoder, pieces, queries)
    return most


if __name__ == "__main__":
    typer.run(main)
