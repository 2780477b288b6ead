"""What the two modes of synthesis cost, and how far their negatives agree.

Run ``python benchmarks/modes.py AMORTIZED PAIRWISE``: folders of two runs of the same data and
language model in which ``hnlmrec finetune`` has ended, by ``synthesis.mode`` amortized and
pairwise. Tokens are exact, padding left out; the seconds that all training pairs would take are
measured on those of some users, drawn by a seed. Numbers are measured here and asserted nowhere.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.context import Context
from hnlmrec.process import set_up_process
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import FINETUNE
from hnlmrec.synthesis.live import LiveNegatives
from hnlmrec.synthesis.model import HardNegativeModel
from hnlmrec.synthesis.prefix import shares_prefixes


def main(
    amortized: Annotated[Path, typer.Argument(help="Run folder of mode amortized.")],
    pairwise: Annotated[Path, typer.Argument(help="Run folder of mode pairwise.")],
    users: Annotated[int, typer.Option(help="Users whose pairs are encoded.")] = 40,
    threads: Annotated[int, typer.Option(help="Threads.")] = 2,
) -> None:
    """Print a table of tokens and seconds, and the cosines."""
    set_up_process(threads)
    one, other = _context(amortized), _context(pairwise)
    inputs = other.synthesis_inputs()
    train = inputs.interactions.train
    chosen = np.random.default_rng(0).choice(train.shape[0], size=users, replace=False)
    all_users, all_items = (part.astype(np.int64) for part in inputs.interactions.pairs("train"))
    rows = np.flatnonzero(np.isin(all_users, chosen))
    pairs = torch.from_numpy(all_users[rows]), torch.from_numpy(all_items[rows])

    language, texts = other.language_model(), (inputs.user_texts, inputs.item_texts)
    folder = other.run.stage(FINETUNE)
    centres = torch.zeros(2, language.width)
    model = HardNegativeModel(other.config.synthesis, language, texts, inputs.view, centres, 0)
    model.restore(folder)
    encoder = model.encoder
    user_tokens, item_tokens = encoder.count(model.users), encoder.count(model.items)
    apart_tokens = int(user_tokens[all_users].sum() + item_tokens[all_items].sum())
    shared_tokens = int(user_tokens[np.unique(all_users)].sum() + item_tokens[all_items].sum())

    def each_by_itself() -> Tensor:
        taken = model.users.take(pairs[0].numpy()), model.items.take(pairs[1].numpy())
        return encoder.encode(*taken) - model.centres[1]

    apart, apart_seconds = _timed(each_by_itself)
    shared, shared_seconds = _timed(lambda: model.pairwise_states(*pairs))
    live = LiveNegatives.open(one.run.stage(FINETUNE), inputs.view, inputs.interactions)
    fused, fused_seconds = _timed(lambda: live.of_pairs(*pairs))

    report = json.loads((one.run.stage(FINETUNE) / "report.json").read_bytes())
    states_tokens, states_seconds = (report[key]["tuned states"] for key in ("tokens", "seconds"))
    scale = len(all_users) / len(rows)
    table = Table(title=f"{len(all_users):,} training pairs, {threads} threads")
    for name in ("negatives", "tokens", "times fewer", "seconds"):
        table.add_column(name, justify="right")
    rows_of_table = [("pairwise, each by itself", apart_tokens, apart_seconds * scale)]
    if shares_prefixes(encoder):
        rows_of_table.append(("pairwise, users shared", shared_tokens, shared_seconds * scale))
    rows_of_table.append(("amortized", states_tokens, states_seconds + fused_seconds * scale))
    for name, tokens, seconds in rows_of_table:
        table.add_row(name, f"{tokens:,}", f"{apart_tokens / tokens:.1f}", f"{seconds:,.0f}")
    console = Console()
    console.print(table)
    console.print(f"seconds of pairs measured on {len(rows):,} pairs of {users} users")
    cosine = torch.nn.functional.cosine_similarity
    console.print(
        f"sharing changes a state by {float((apart - shared).norm(dim=1).max()):.1e} at most, of "
        f"lengths about {float(apart.norm(dim=1).mean()):.1f}"
    )
    console.print(
        f"cosine of the two modes, mean: {float(cosine(fused, apart).mean()):.3f}; with another "
        f"pair's negative: {float(cosine(fused, apart.roll(len(apart) // 2, 0)).mean()):.3f}"
    )


def _context(run: Path) -> Context:
    config = RunConfig.from_yaml(run / "config.yaml", {"run": str(run)})
    return Context(config, RunFolder(run), Reporter(Console()))


def _timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
