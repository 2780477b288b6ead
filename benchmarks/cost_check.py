"""Compare the cost model with finished runs: tokens and bytes, and the FLOP/s that they reached.

Run ``hnlmrec demo --quick --run DIR`` and ``python benchmarks/cost_check.py DIR``; several runs may
be named. Tokens of a text are the run's own; what is predicted is how often they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import typer
import yaml
from rich.console import Console
from rich.table import Table

from cost_model import FORWARD, LEARNING, Work, finetuning, pairwise, read, states, store_bytes

# parameters that a token passes: all but the table of tokens
BODIES = {"embedded:minilm": 10.6e6, "embedded:smollm2": 106e6}
ENCODERS = ("embedded:minilm",)


def main(runs: list[Path]) -> None:
    """Compare the model with finished runs."""
    shown = Table(title="predicted and measured")
    for name in ("run", "", "predicted", "measured", "ratio"):
        shown.add_column(name, justify="left" if name in ("run", "") else "right")
    for run in runs:
        if not (run / "finetune" / "report.json").is_file():
            continue
        for what, predicted, measured in predictions(run):
            ratio = f"{predicted / measured:.3f}"
            shown.add_row(run.name, what, f"{predicted:,.0f}", f"{measured:,.0f}", ratio)
        for what, speed in speeds(run):
            shown.add_row(run.name, f"{what}, GFLOP/s", "", f"{speed / 1e9:,.1f}", "")
        shown.add_section()
    Console(width=110).print(shown)


def predictions(run: Path) -> Iterator[tuple[str, float, float]]:
    """What the model says of a finished run, and what that reports: tokens, then bytes."""
    work = work_of(run)
    tuned = _report(run / "finetune")
    tokens = tuned["tokens"]
    if tokens.get("lora"):
        yield "LoRA of full batches, tokens", finetuning(work).tokens, tokens["lora"]
    if "tuned states" in tokens:
        yield "tuned states, tokens", states(work).tokens, tokens["tuned states"]
    if tuned.get("pairwise_tokens"):
        yield "pairwise, tokens", pairwise(work).tokens, tuned["pairwise_tokens"]
    if measured := _bytes(run / "finetune", "*_states-*"):
        yield "states, bytes", states(work).stored, measured
    if measured := _bytes(run / "synthesize", "negatives[-.][!j]*"):
        yield "negatives, bytes", store_bytes(work), measured


def speeds(run: Path) -> Iterator[tuple[str, float]]:
    """FLOP/s that a finished run reached."""
    work = work_of(run)
    encoded, tuned = _report(run / "encode" / "items"), _report(run / "finetune")
    yield "encode items", read(work, encoded["tokens"]) / encoded["seconds"]
    for phase, flops in (("lora", LEARNING), ("tuned states", FORWARD)):
        if tokens := tuned["tokens"].get(phase):
            yield phase, flops * work.parameters * tokens / tuned["seconds"][phase]


def work_of(run: Path) -> Work:
    """Read the sizes of a finished run; a user's tokens, where none were counted, by letters."""
    config = yaml.safe_load((run / "config.yaml").read_text("utf-8"))
    prepared, items = _report(run / "prepare"), _report(run / "encode" / "items")
    synthesis, name = config["synthesis"], config["language"]["model"]
    item_tokens = items["tokens"] / items["texts"]
    counted = run / "encode" / "users"
    if (counted / "report.json").is_file():
        user_tokens = _report(counted)["tokens"] / _report(counted)["texts"]
    else:
        letters = {
            kind: _letters(run / "profile" / f"{kind}.parquet") for kind in ("users", "items")
        }
        user_tokens = item_tokens * letters["users"] / letters["items"]
        user_tokens = min(user_tokens, config["language"]["max_tokens"])
    tuning = synthesis["finetune"]
    return Work(
        users=prepared["users"],
        items=prepared["items"],
        pairs=prepared["interactions"]["train"],
        user_tokens=user_tokens,
        item_tokens=item_tokens,
        soft_tokens=int(tuning["collaborative"] == "soft_tokens"),
        parameters=BODIES[name],
        width=items["width"],
        mode=synthesis["mode"],
        history=synthesis["user_states"] == "history",
        shared=name not in ENCODERS,
        steps=tuning["steps"],
        batch_users=tuning["batch_users"],
        pairs_per_user=tuning["pairs_per_user"],
        evaluate_every=tuning["evaluate_every"],
        storage=synthesis["storage"],
    )


def _report(stage: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((stage / "report.json").read_bytes())
    return report


def _letters(file: Path) -> float:
    mean = pl.read_parquet(file)["summarization"].str.len_chars().mean()
    assert isinstance(mean, float)
    return mean


def _bytes(folder: Path, pattern: str) -> int:
    return sum(file.stat().st_size for file in folder.glob(pattern))


if __name__ == "__main__":
    typer.run(main)
