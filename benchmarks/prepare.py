"""Time `hnlmrec prepare` on synthetic reviews or tables, and its peak memory.

Run ``python benchmarks/prepare.py --folder DIR``; ``--help`` lists the options. Reviews are in the
format of Amazon 2018: ratings, dates and lengths of texts are drawn, so that the filters of the
preset ``paper-toys`` have something to drop; 2 million are a file of 1.1 GB. Tables, ``--form csv``
or ``parquet``, have ids of the same form, ratings and times, and are filtered as by default; 10
million rows of CSV are 410 MB. ``--form parts`` are such rows of 1 million users and 100,000
items in Parquet files of 2.5 million rows, written one at a time: 100 million are 1.2 GB. Numbers
are measured here and asserted nowhere.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import typer
import yaml
from rich.console import Console
from rich.table import Table

from hnlmrec.config import DataConfig
from hnlmrec.config.presets import preset
from hnlmrec.data.interactions import Interactions
from hnlmrec.data.prepare import prepare
from hnlmrec.measure import Meter
from synthetic import synthetic

Form = Literal["reviews", "csv", "parquet", "parts"]
Ints = npt.NDArray[np.int32]
FIRST, LAST = 1_325_376_000, 1_538_352_000  # 2012-01-01 to 2018-10-01 (UTC)
DAY = 86_400
RATINGS, SHARES = (1, 2, 3, 4, 5), (0.07, 0.05, 0.09, 0.18, 0.61)
USERS, ITEMS, PART = 1_000_000, 100_000, 2_500_000
WORDS, LETTERS = 5_000, "abcdefghijklmnopqrstuvwxyz"
MEDIAN_WORDS, SPREAD = 30, 1.0  # of a review: a log-normal law


def main(
    folder: Annotated[Path | None, typer.Option(help="Where to write; a temporary one.")] = None,
    rows: Annotated[list[int] | None, typer.Option(help="Reviews; repeat for several.")] = None,
    form: Annotated[Form, typer.Option(help="Of the files.")] = "reviews",
) -> None:
    """Print a table of times and memory."""
    table = Table(title=f"prepare, {form}")
    for name in ("rows", "file, MB", "kept", "s", "µs a row", "peak MiB", "bytes a row"):
        table.add_column(name, justify="right")
    for n in rows or [500_000, 1_000_000, 2_000_000]:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            source, out = Path(place, "source"), Path(place, "out")
            source.mkdir()
            out.mkdir()
            size = _write(source, n, form)
            # a process of its own: its peak is that of the preparation
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                kept, seconds, peak = pool.apply(_prepare, (source, out, form))
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


def _write(folder: Path, n: int, form: Form) -> int:
    """Write ``n`` rows; give the bytes."""
    if form == "reviews":
        return _write_reviews(folder, n)
    if form == "parts":
        return _write_parts(folder / "interactions", n)
    rng = np.random.default_rng(0)
    _, users, items = _pairs(n, rng)
    frame = _rows(users, items, rng)
    path = folder / f"interactions.{form}"
    if form == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    return path.stat().st_size


def _write_parts(folder: Path, n: int) -> int:
    """A few users and items have most of the rows; some pairs are repeated."""
    folder.mkdir()
    size = 0
    for number, start in enumerate(range(0, n, PART)):
        rng = np.random.default_rng([7, number])
        m = min(PART, n - start)
        users, items = USERS * rng.random(m) ** 1.5, ITEMS * rng.random(m) ** 2.5
        path = folder / f"part-{number:05}.parquet"
        _rows(users.astype(np.int32), items.astype(np.int32), rng).write_parquet(path)
        size += path.stat().st_size
    return size


def _rows(users: Ints, items: Ints, rng: np.random.Generator) -> pl.DataFrame:
    """Interactions with ids as strings, a rating and a time."""
    return pl.DataFrame({"user": users, "item": items}).select(
        user_id=pl.lit("A") + pl.col("user").cast(pl.String).str.zfill(13),
        item_id=pl.lit("B") + pl.col("item").cast(pl.String).str.zfill(9),
        rating=pl.Series(rng.choice(RATINGS, p=SHARES, size=len(users))).cast(pl.Float64),
        timestamp=pl.Series(rng.integers(FIRST, LAST, size=len(users))),
    )


def _pairs(n: int, rng: np.random.Generator) -> tuple[Interactions, Ints, Ints]:
    """A synthetic set, and its users and items in a random order."""
    data = synthetic(n)
    pairs = [data.pairs(part) for part in ("train", "valid", "test")]
    users, items = (np.concatenate(column)[:n] for column in zip(*pairs, strict=True))
    order = rng.permutation(len(users))
    return data, users[order], items[order]


def _write_reviews(folder: Path, n: int) -> int:
    """Write ``n`` reviews and a record an item; give the bytes of the reviews."""
    rng = np.random.default_rng(0)
    data, users, items = _pairs(n, rng)
    words = np.array(["".join(rng.choice(list(LETTERS), rng.integers(2, 9))) for _ in range(WORDS)])
    path = folder / "Toys_and_Games.json"
    with path.open("w", encoding="utf-8") as file:
        for user, item in zip(users.tolist(), items.tolist(), strict=True):
            length = int(MEDIAN_WORDS * rng.lognormal(0, SPREAD)) + 1
            # neighbours in a random list of words are as good as draws, and quicker
            start = int(rng.integers(WORDS))
            review = {
                "overall": float(rng.choice(RATINGS, p=SHARES)),
                "verified": True,
                "reviewTime": "01 1, 2015",
                "reviewerID": f"A{user:013d}",
                "asin": f"B{item:09d}",
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


def _prepare(source: Path, out: Path, form: Form) -> tuple[int, float, float]:
    """Interactions kept, seconds and peak memory in MiB."""
    section = yaml.safe_load(preset("paper-toys"))["data"]
    if form != "reviews":
        section = {"reader": "table"}
    config = DataConfig(**{**section, "path": str(source)})
    meter = Meter()
    report = prepare(config, out)
    return sum(report.interactions.values()), meter.seconds(), meter.peak_memory_mib()


if __name__ == "__main__":
    typer.run(main)
