"""Time `hnlmrec prepare` on synthetic reviews in the format of Amazon 2018, and its peak memory.

Run ``python benchmarks/prepare.py --folder DIR``; ``--help`` lists the options. Ratings, dates and
lengths of texts are drawn, so that the filters of the preset ``paper-toys`` have something to drop;
2 million reviews are a file of 1.1 GB. Numbers are measured here and asserted nowhere.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
import yaml
from rich.console import Console
from rich.table import Table

from hnlmrec.config import DataConfig
from hnlmrec.config.presets import preset
from hnlmrec.data.prepare import prepare
from hnlmrec.measure import Meter
from synthetic import synthetic

FIRST, LAST = 1_325_376_000, 1_538_352_000  # 2012-01-01 to 2018-10-01 (UTC)
DAY = 86_400
RATINGS, SHARES = (1, 2, 3, 4, 5), (0.07, 0.05, 0.09, 0.18, 0.61)
WORDS, LETTERS = 5_000, "abcdefghijklmnopqrstuvwxyz"
MEDIAN_WORDS, SPREAD = 30, 1.0  # of a review: a log-normal law


def main(
    folder: Annotated[Path | None, typer.Option(help="Where to write; a temporary one.")] = None,
    reviews: Annotated[list[int] | None, typer.Option(help="Reviews; repeat for several.")] = None,
) -> None:
    """Print a table of times and memory."""
    table = Table(title="prepare with the filters of paper-toys")
    for name in ("reviews", "file, MB", "kept", "s", "µs a review", "peak MiB", "bytes a review"):
        table.add_column(name, justify="right")
    for n in reviews or [500_000, 1_000_000, 2_000_000]:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            source, out = Path(place, "source"), Path(place, "out")
            source.mkdir()
            out.mkdir()
            size = _write(source, n)
            # a process of its own: its peak is that of the preparation
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                kept, seconds, peak = pool.apply(_prepare, (source, out))
        table.add_row(
            f"{n:,}",
            f"{size / 1e6:,.0f}",
            f"{kept:,}",
            f"{seconds:.1f}",
            f"{seconds / n * 1e6:.1f}",
            f"{peak:,.0f}",
            f"{peak * 2**20 / n:,.0f}",
        )
    Console().print(table)


def _write(folder: Path, n: int) -> int:
    """Write ``n`` reviews and a record an item; give the bytes of the reviews."""
    rng = np.random.default_rng(0)
    data = synthetic(n)
    pairs = [data.pairs(part) for part in ("train", "valid", "test")]
    users, items = (np.concatenate(column)[:n] for column in zip(*pairs, strict=True))
    order = rng.permutation(len(users))
    words = np.array(["".join(rng.choice(list(LETTERS), rng.integers(2, 9))) for _ in range(WORDS)])
    path = folder / "Toys_and_Games.json"
    with path.open("w", encoding="utf-8") as file:
        for row in order.tolist():
            length = int(MEDIAN_WORDS * rng.lognormal(0, SPREAD)) + 1
            # neighbours in a random list of words are as good as draws, and quicker
            start = int(rng.integers(WORDS))
            review = {
                "overall": float(rng.choice(RATINGS, p=SHARES)),
                "verified": True,
                "reviewTime": "01 1, 2015",
                "reviewerID": f"A{users[row]:013d}",
                "asin": f"B{items[row]:09d}",
                "reviewerName": "A customer",
                "reviewText": " ".join(np.take(words, range(start, start + length), mode="wrap")),
                "summary": " ".join(words[start : start + 4]),
                "unixReviewTime": int(rng.integers(FIRST // DAY, LAST // DAY)) * DAY,
            }
            file.write(json.dumps(review) + "\n")
    with (folder / "meta_Toys_and_Games.json").open("w", encoding="utf-8") as file:
        for item in range(data.n_items):
            title = " ".join(words[item % WORDS : item % WORDS + 6])
            record = {"asin": f"B{item:09d}", "title": title, "category": ["Toys & Games"]}
            file.write(json.dumps(record) + "\n")
    return path.stat().st_size


def _prepare(source: Path, out: Path) -> tuple[int, float, float]:
    """Interactions kept, seconds and peak memory in MiB."""
    section = yaml.safe_load(preset("paper-toys"))["data"]
    config = DataConfig(**{**section, "path": str(source)})
    meter = Meter()
    report = prepare(config, out)
    return sum(report.interactions.values()), meter.seconds(), meter.peak_memory_mib()


if __name__ == "__main__":
    typer.run(main)
