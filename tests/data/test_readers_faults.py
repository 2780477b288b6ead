from __future__ import annotations

import gzip
import random

import polars as pl
import pytest

from hnlmrec.config import DataConfig
from hnlmrec.data.readers import READERS
from hnlmrec.errors import DataError

GOOD = "user_id,item_id,rating\nu,a,4\n"


def read(folder, **settings):
    config = DataConfig(reader="table", path=str(folder), **{"strict": True, **settings})
    return READERS["table"](config, folder)


def fails(folder, message, **settings):
    with pytest.raises(DataError, match=message):
        read(folder, **settings)


def test_no_interactions_file(tmp_path):
    fails(tmp_path, r"no file interactions\.csv or .*name the file in data\.interactions")


@pytest.mark.parametrize("key", ["interactions", "items"])
def test_a_named_file_is_missing(tmp_path, key):
    (tmp_path / "interactions.csv").write_text(GOOD)
    fails(tmp_path, rf"absent\.csv: there is no such file.*data\.{key}", **{key: "absent.csv"})


def test_several_files_fit(tmp_path):
    (tmp_path / "interactions.csv").write_text(GOOD)
    (tmp_path / "interactions.tsv").write_text(GOOD)
    fails(tmp_path, r"several files fit: interactions\.csv, interactions\.tsv")


@pytest.mark.parametrize(
    ("columns", "missing"),
    [({}, "user_id"), ({"user": "who", "item": "it"}, "it"), ({"user": "who", "rating": "r"}, "r")],
)
def test_a_missing_column_names_those_found(tmp_path, columns, missing):
    (tmp_path / "interactions.csv").write_text("who,item_id\nu,a\n")
    message = rf"interactions\.csv: there is no column '{missing}'; found: who, item_id.*data\.col"
    fails(tmp_path, message, columns=columns)


def test_items_without_ids(tmp_path):
    (tmp_path / "interactions.csv").write_text(GOOD)
    (tmp_path / "items.csv").write_text("asin,title\na,T\n")
    fails(tmp_path, r"items\.csv: there is no column 'item_id'; found: asin, title")


@pytest.mark.parametrize("value", ["good", "4,5", "nan", "inf", "1e400"])
def test_a_rating_is_not_a_number(tmp_path, value):
    rows = f'u,a,3\n"two\nlines",b,\n\nu,c,"{value}"\n'
    (tmp_path / "interactions.csv").write_text("user_id,item_id,rating\n" + rows)
    fails(tmp_path, rf"interactions\.csv, line 6, column rating: '{value}' is not a number")


def test_a_timestamp_is_not_a_number(tmp_path):
    (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,a,2020-01-01\n")
    fails(tmp_path, r"line 2, column timestamp: '2020-01-01' is not a number")


def test_rows_of_parquet_are_counted(tmp_path):
    frame = pl.DataFrame(
        {"user_id": ["u", "v"], "item_id": ["a", "b"], "rating": [1.0, float("nan")]}
    )
    frame.write_parquet(tmp_path / "interactions.parquet")
    fails(tmp_path, r"interactions\.parquet, row 2, column rating: nan is not a number")


@pytest.mark.parametrize("line", [",a,1", '"",a,1', "u", "u,,3"])
def test_an_empty_id(tmp_path, line):
    (tmp_path / "interactions.csv").write_text(GOOD + line + "\n")
    fails(tmp_path, r"interactions\.csv, line 3: the (user|item)_id is empty")


def test_an_empty_item_id(tmp_path):
    (tmp_path / "interactions.csv").write_text(GOOD)
    (tmp_path / "items.jsonl").write_text('{"item_id": "a"}\n{"item_id": null}\n')
    fails(tmp_path, r"items\.jsonl, line 2: the item_id is empty")


@pytest.mark.parametrize("name", ["interactions.csv", "interactions.csv.gz"])
def test_an_empty_file(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    fails(tmp_path, rf"{name}: the file is empty")


def test_too_many_fields(tmp_path):
    (tmp_path / "interactions.csv").write_text(GOOD + "u,b,3,extra,more\n")
    fails(tmp_path, r"interactions\.csv, line 3: more fields than the 3 of the header")


def test_another_encoding(tmp_path):
    (tmp_path / "interactions.csv").write_text(GOOD + "é,b,3\n", encoding="latin-1")
    fails(tmp_path, r"interactions\.csv, line 3: not UTF-8 text")
    (tmp_path / "interactions.csv").write_text(GOOD)
    (tmp_path / "items.jsonl").write_bytes('{"item_id": "é"}'.encode("latin-1"))
    fails(tmp_path, r"items\.jsonl, line 1: not UTF-8 text")


def compressed(line: str) -> bytes:
    numbers = random.Random(0)
    return gzip.compress("".join(line % numbers.random() for _ in range(5000)).encode())


def test_truncated_gzip_interactions(tmp_path):
    content = compressed("u%s,a,3\n")
    (tmp_path / "interactions.csv.gz").write_bytes(content[: len(content) // 2])
    fails(tmp_path, r"interactions\.csv\.gz: the gzip file is truncated.*download it again")


def test_truncated_gzip_items(tmp_path):
    (tmp_path / "interactions.csv").write_text(GOOD)
    content = compressed('{"item_id": "i%s"}\n')
    (tmp_path / "items.jsonl.gz").write_bytes(content[: len(content) // 2])
    fails(tmp_path, r"items\.jsonl\.gz: the gzip file is truncated.*download it again")


@pytest.mark.parametrize("damage", [b"plain text\n", gzip.compress(b"{}")[:10] + b"\xff" * 40])
def test_damaged_gzip_items(tmp_path, damage):
    (tmp_path / "interactions.csv").write_text(GOOD)
    (tmp_path / "items.jsonl.gz").write_bytes(damage)
    fails(tmp_path, r"items\.jsonl\.gz: the gzip file is truncated or damaged")


def test_damaged_parquet(tmp_path):
    (tmp_path / "interactions.parquet").write_bytes(b"user_id,item_id\n")
    fails(tmp_path, r"interactions\.parquet: the file cannot be read")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"item_id": "b"', r"line 3: this is not JSON \(.*correct or remove this line"),
        ("[1, 2]", r"line 3: expected a JSON object, found '\[1, 2\]'"),
        ("{'item_id': 'b'}", r"line 3: this is not JSON"),
    ],
)
def test_bad_json(tmp_path, line, message):
    (tmp_path / "interactions.csv").write_text(GOOD)
    (tmp_path / "items.jsonl").write_text('{"item_id": "a"}\n\n' + line + "\n")
    fails(tmp_path, r"items\.jsonl, " + message)
