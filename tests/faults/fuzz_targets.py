"""What is fuzzed: each target puts bytes where hnlmrec reads them, and lets it read.

An `HnlmrecError` is an answer; whatever else is raised is a bug. Parquet files of a run are not
here: polars may end the process over a damaged page, and the files of a run are compared with
their checksums before they are read.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
import yaml

from hnlmrec.artifacts import RECORD, RunFolder
from hnlmrec.config import DataConfig, RunConfig
from hnlmrec.config.template import template
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.data.prepare import PrepareReport, load_reviews, prepare
from hnlmrec.errors import HnlmrecError
from hnlmrec.language.cache import AnswerCache
from hnlmrec.language.protocol import Answer
from hnlmrec.negatives import EmbeddingView
from hnlmrec.synthesis.store import NegativeStore, verify
from hnlmrec.training.checkpoint import read_checkpoint, write_checkpoint
from hnlmrec.training.model import FILE, TrainedModel

Read = Callable[[bytes, Path], None]


@dataclass(frozen=True)
class Target:
    """Bytes that are right, what reads others in their place, and what means something there."""

    right: bytes
    read: Read
    tokens: tuple[bytes, ...] = ()

    def __call__(self, content: bytes) -> None:
        """Read these bytes; what is wrong with them must be said by an `HnlmrecError`."""
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(HnlmrecError):
            self.read(content, Path(folder))


def _table() -> str:
    rows = [f"u{n % 4},i{n % 5},{n % 5 + 1},{n * 1000}" for n in range(20)]
    return "\n".join(["user_id,item_id,rating,timestamp", *rows, 'u1,"a ""b"", c",5,9', ""])


def _json_lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


CSV = _table()
ATOMIC = CSV.replace("user_id", "user_id:token").replace("item_id", "item_id:token")
ITEMS = _json_lines(
    {"item_id": "i1", "title": "A &amp; <b>B</b>", "categories": [["x"], "y"]}, {"item_id": "i2"}
)
REVIEWS = _json_lines(
    *(
        {"reviewerID": f"A{n % 3}", "asin": f"B{n}", "overall": 5, "unixReviewTime": n}
        | {"summary": "so", "reviewText": "good"}
        for n in range(9)
    )
)
METADATA = "{'asin': 'B1', 'title': u'T', 'categories': [['x']]}\n" + _json_lines({"asin": "B2"})
VISITS = _json_lines(
    *(
        {"user_id": f"u{n % 3}", "business_id": f"b{n}", "stars": 4, "text": "t"}
        | {"date": "2016-03-09 17:05:00"}
        for n in range(9)
    )
)
BUSINESSES = _json_lines(
    {"business_id": "b1", "name": "N", "categories": "a, b", "city": "C"}
    | {"attributes": {"WiFi": "u'free'", "Meals": "{'lunch': True}"}}
)


def _parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


def _prepared(reader: str, name: str, **others: str) -> Read:
    def read(content: bytes, folder: Path) -> None:
        source, out = folder / "source", folder / "out"
        source.mkdir()
        out.mkdir()
        for other, text in others.items():
            (source / other.replace("__", ".")).write_text(text)
        (source / name).write_bytes(content)
        prepare(DataConfig(reader=reader, path=str(source), core=1, min_rating=None), out)
        _read_prepared(out)

    return read


def _read_prepared(folder: Path) -> None:
    Interactions.load(folder)
    ItemTexts.load(folder)
    load_reviews(folder)
    PrepareReport.load(folder)


def _config(content: bytes, folder: Path) -> None:
    file = folder / "config.yaml"
    file.write_bytes(content)
    config = RunConfig.from_yaml(file)
    assert RunConfig.from_dict(yaml.safe_load(config.to_yaml())) == config


def _replaced(make: Callable[[Path], None], name: str, read: Callable[[Path], None]) -> Target:
    """What reads a folder in which one file of those that were made has other bytes."""

    def replace(content: bytes, folder: Path) -> None:
        make(folder)
        (folder / name).write_bytes(content)
        read(folder)

    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        return Target((Path(folder) / name).read_bytes(), replace)


def _interactions() -> Interactions:
    users, items = (np.arange(12, dtype=np.int32) // n for n in (4, 1))
    ids = (pl.Series([f"{kind}{n}" for n in range(count)]) for kind, count in (("u", 3), ("i", 12)))
    return Interactions.from_pairs(*ids, users, items, np.zeros(12, dtype=np.int8))


def _make_report(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "interactions.csv").write_text(CSV)
    prepare(DataConfig(reader="table", path=str(folder / "data"), core=1, min_rating=None), folder)


def _read_report(folder: Path) -> None:
    PrepareReport.load(folder).lines()


def _make_store(folder: Path) -> None:
    vectors = torch.ones(12, 4)
    NegativeStore.create(folder, _interactions(), 4, "int8").write(np.arange(12), vectors)


def _read_store(folder: Path) -> None:
    verify(folder, _interactions())


def _make_answers(folder: Path) -> None:
    cache = AnswerCache(folder / "answers.sqlite")
    for n in range(20):
        cache.add(f"key{n}", "model", Answer("text", 3, 4, True), 0.5)
    cache.close()


def _read_answers(folder: Path) -> None:
    for left in folder.glob("answers.sqlite-*"):
        left.unlink()
    cache = AnswerCache(folder / "answers.sqlite")
    try:
        cache.find([f"key{n}" for n in range(20)])
        cache.count_use(["key1"])
        cache.add("more", "model", Answer("text", 3, 4, True), 0.5)
        cache.lines()
        cache.seconds_an_answer("model")
        cache.prune(older_than_days=1)
    finally:
        cache.close()


def _make_run(folder: Path) -> None:
    run = RunFolder(folder)
    run.claim(RunConfig(run=folder), update=False)
    with run.write("prepare", "key", {"a": 1}, {}, []) as work:
        (work / "file").write_text("content")


def _read_run(folder: Path) -> None:
    run = RunFolder(folder)
    run.claim(RunConfig(run=folder), update=False)
    run.up_to_date("prepare", "key")
    run.content("prepare")
    run.damaged("prepare")
    run.gather()


def _model() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def _make_checkpoint(folder: Path) -> None:
    model, optimizer = _model()
    facts = {"history": [], "best_epoch": 0, "best": -1.0, "epoch": 0, "seconds": 0}
    best = {name: value.clone() for name, value in model.state_dict().items()}
    write_checkpoint(folder / "checkpoint", model, optimizer, best, facts)


def _read_checkpoint(folder: Path) -> None:
    read_checkpoint(folder / "checkpoint", *_model())


def _make_model(folder: Path) -> None:
    TrainedModel(EmbeddingView(torch.ones(3, 2), torch.ones(4, 2)), {"a": torch.ones(2)}).save(
        folder
    )


def _read_model(folder: Path) -> None:
    TrainedModel.load(folder)


_ROW = (
    *(b",", b"\t", b'"', b"\n", b"\r", b"\r\n", b'""', b"\xef\xbb\xbf", b"\xff", b"\0"),
    *(b"nan", b"-inf", b"1e999", b"9" * 400, b"\xf0\x9f\x98\x80", b"u1,i1,5,1\n", b'u1,"i1,5,1\n'),
)
_JSON = (
    *(
        b"{",
        b"}",
        b"[" * 300,
        b"]",
        b'"',
        b"'",
        b":",
        b",",
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\\u0000",
    ),
    *(b"null", b"true", b"NaN", b"1e999", b"-1", b"9" * 5000, b'"\\ud800"', b"&#xd800;"),
    *(b"0001-01-01T00:00:00+23:59", b"9999-12-31 23:59:59", b'"user_id"', b'"title"'),
)
_YAML = (
    *(b": ", b"\n", b"- ", b"  ", b"{", b"}", b"[", b"&a ", b"*a", b"<<: ", b"? ", b"---\n", b"\t"),
    *(b"!!python/name:os.system", b"!!binary ", b".nan", b".inf", b"1e999", b"9" * 5000, b"-1"),
    *(b"null", b"true", b"2001-01-01", b"\0", b"\xff", b"models:", b"data:", b"run: ", b"[" * 300),
)

TARGETS = {
    "csv": Target(CSV.encode(), _prepared("table", "interactions.csv"), _ROW),
    "csv.gz": Target(gzip.compress(CSV.encode()), _prepared("table", "interactions.csv.gz")),
    "tsv": Target(CSV.replace(",", "\t").encode(), _prepared("table", "interactions.tsv"), _ROW),
    "parquet": Target(
        _parquet(pl.read_csv(CSV.encode())), _prepared("table", "interactions.parquet")
    ),
    "inter": Target(ATOMIC.replace(",", "\t").encode(), _prepared("recbole", "data.inter"), _ROW),
    "ratings": Target(
        CSV.replace("user_id", "userId").replace("item_id", "movieId").encode(),
        _prepared("movielens", "ratings.csv", movies__csv="movieId,title,genres\ni1,T,a|b\n"),
        _ROW,
    ),
    "items.jsonl": Target(
        ITEMS.encode(), _prepared("table", "items.jsonl", interactions__csv=CSV), _JSON
    ),
    "items.csv": Target(
        b'item_id,title,brand\ni1,"T, ""x""",b\ni2,,\n',
        _prepared("table", "items.csv", interactions__csv=CSV),
        _ROW,
    ),
    "amazon reviews": Target(
        REVIEWS.encode(), _prepared("amazon", "Toys.json", meta_Toys__json=METADATA), _JSON
    ),
    "amazon metadata": Target(
        METADATA.encode(), _prepared("amazon", "meta_Toys.json", Toys__json=REVIEWS), _JSON
    ),
    "yelp reviews": Target(
        VISITS.encode(), _prepared("yelp", "review.json", business__json=BUSINESSES), _JSON
    ),
    "yelp businesses": Target(
        BUSINESSES.encode(), _prepared("yelp", "business.json", review__json=VISITS), _JSON
    ),
    "config": Target(template().encode(), _config, _YAML),
    "run's config": _replaced(_make_run, "config.yaml", _read_run),
    "stage record": _replaced(_make_run, f"prepare/{RECORD}", _read_run),
    "prepare report": _replaced(_make_report, "report.json", _read_report),
    "negative store": _replaced(_make_store, "negatives-00000.int8", _read_store),
    "store's shape": _replaced(_make_store, "negatives.json", _read_store),
    "store's scales": _replaced(_make_store, "negatives.scales", _read_store),
    "store's presence": _replaced(_make_store, "negatives.present", _read_store),
    "answers": _replaced(_make_answers, "answers.sqlite", _read_answers),
    "checkpoint": _replaced(_make_checkpoint, "checkpoint", _read_checkpoint),
    "trained model": _replaced(_make_model, FILE, _read_model),
}
