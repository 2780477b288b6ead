from __future__ import annotations

import gzip
import json
from datetime import datetime

import polars as pl
import pytest

from hnlmrec.config import DataConfig
from hnlmrec.data.readers import READERS, RawData
from hnlmrec.errors import DataError


def read(folder, **settings) -> RawData:
    return READERS["table"](DataConfig(reader="table", path=str(folder), **settings), folder)


def pairs(raw: RawData) -> list[tuple[str, str]]:
    return raw.interactions.select("user_id", "item_id").rows()


def write_json_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


CSV = "user_id,item_id,rating,timestamp\nu1,i1,4.5,100\nu2,i1,,\n"


def test_csv_with_ratings_and_times(tmp_path):
    (tmp_path / "interactions.csv").write_text(CSV)
    raw = read(tmp_path)
    assert raw.interactions.rows() == [
        ("u1", "i1", 4.5, 100),
        ("u2", "i1", None, None),
    ]
    assert raw.clock == "seconds"
    assert raw.items.height == 0
    assert raw.notes == ("there is no file of items, so no item has a text",)


@pytest.mark.parametrize("name", ["csv", "csv.gz", "tsv", "tsv.gz", "parquet"])
def test_every_ending_reads_the_same(tmp_path, name):
    path = tmp_path / f"interactions.{name}"
    text = CSV.replace(",", "\t") if "tsv" in name else CSV
    if name == "parquet":
        pl.read_csv(CSV.encode()).write_parquet(path)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    raw = read(tmp_path)
    assert raw.interactions["rating"].to_list() == [4.5, None]
    assert pairs(raw) == [("u1", "i1"), ("u2", "i1")]


def test_positions_are_not_seconds(tmp_path):
    (tmp_path / "interactions.csv").write_text("user_id,item_id,position\nu,a,0\nu,b,1\n")
    raw = read(tmp_path)
    assert raw.clock == "position"
    assert raw.interactions["timestamp"].to_list() == [0, 1]


def test_without_any_order_there_is_no_clock(tmp_path):
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu,a\n")
    assert read(tmp_path).clock == "none"


def test_parquet_dates_become_seconds(tmp_path):
    pl.DataFrame(
        {"user_id": [1], "item_id": [2], "timestamp": [datetime(2020, 1, 1)]}
    ).write_parquet(tmp_path / "interactions.parquet")
    assert read(tmp_path).interactions.row(0) == ("1", "2", None, 1577836800)


def test_named_columns_and_files(tmp_path):
    (tmp_path / "log.csv").write_text("who,what,stars\nu,a,3\n")
    (tmp_path / "catalogue.csv").write_text("what,title\na,A thing\n")
    raw = read(
        tmp_path,
        interactions="log.csv",
        items="catalogue.csv",
        columns={"user": "who", "item": "what", "rating": "stars"},
    )
    assert raw.interactions["rating"].to_list() == [3.0]
    assert raw.items.row(0) == ("a", "A thing", "", "", "")


def test_difficult_ids_survive(tmp_path):
    ids = ["with space", 'with "quotes"', "two\nlines", "тест", "用户", "a,b", " edge "]
    frame = pl.DataFrame({"user_id": ids, "item_id": ids[::-1]})
    frame.write_csv(tmp_path / "interactions.csv")
    frame.write_parquet(tmp_path / "interactions.parquet")
    expected = list(zip(ids, reversed(ids), strict=True))
    assert pairs(read(tmp_path, interactions="interactions.csv")) == expected
    assert pairs(read(tmp_path, interactions="interactions.parquet")) == expected


def test_byte_order_marks_are_ignored(tmp_path):
    (tmp_path / "interactions.csv").write_text(CSV, encoding="utf-8-sig")
    (tmp_path / "items.jsonl").write_text('{"item_id": "i1", "title": "T"}', encoding="utf-8-sig")
    raw = read(tmp_path)
    assert pairs(raw)[0] == ("u1", "i1")
    assert raw.items["title"].to_list() == ["T"]


def test_blank_lines_and_windows_line_ends(tmp_path):
    (tmp_path / "interactions.csv").write_bytes(b"user_id,item_id\r\nu,a\r\n\r\nu,b\r\n\r\n")
    (tmp_path / "items.jsonl").write_text('\n{"item_id": "a"}\n\n')
    raw = read(tmp_path)
    assert pairs(raw) == [("u", "a"), ("u", "b")]
    assert raw.items["item_id"].to_list() == ["a"]


def test_texts_are_plain(tmp_path):
    (tmp_path / "interactions.csv").write_text(CSV)
    write_json_lines(
        tmp_path / "items.jsonl",
        [
            {
                "item_id": 7,
                "title": "Pajama &amp; 18&quot; Doll\n  Set",
                "brand": None,
                "categories": [["Toys", "Dolls"], ["Toys", "Clothes"]],
                "description": [
                    "<p class='x'>Costs < $300</p><br/>now&lt;br&gt;",
                    "<style>p {color: red}</style>",
                    "I <3 it",
                ],
            }
        ],
    )
    assert read(tmp_path).items.row(0) == (
        "7",
        'Pajama & 18" Doll Set',
        "",
        "Toys, Dolls, Clothes",
        "Costs < $300 now I <3 it",
    )


@pytest.mark.parametrize("name", ["items.csv", "items.tsv", "items.parquet", "items.jsonl.gz"])
def test_items_in_every_format(tmp_path, name):
    (tmp_path / "interactions.csv").write_text(CSV)
    frame = pl.DataFrame({"item_id": ["i1", "i2"], "title": ["One, two", ""], "brand": ["B", None]})
    path = tmp_path / name
    if name.endswith("parquet"):
        frame.write_parquet(path)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(frame.write_ndjson().encode()))
    else:
        frame.write_csv(path, separator="\t" if "tsv" in name else ",")
    assert read(tmp_path).items.rows() == [("i1", "One, two", "B", "", ""), ("i2", "", "", "", "")]


def test_the_first_of_repeated_items_counts(tmp_path):
    (tmp_path / "interactions.csv").write_text(CSV)
    write_json_lines(
        tmp_path / "items.jsonl",
        [{"item_id": "a", "title": title} for title in ("first", "second", "third")],
    )
    raw = read(tmp_path)
    assert raw.items["title"].to_list() == ["first"]
    assert raw.notes == ("records that repeat an item and were left out: 2",)


def test_an_unknown_field_is_named(tmp_path):
    with pytest.raises(DataError, match=r"data\.columns: there is no field users.*user, item"):
        read(tmp_path, columns={"users": "who"})
