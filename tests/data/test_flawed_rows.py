"""Rows that cannot be used: left out, counted and sampled, or the end of it with `data.strict`."""

from __future__ import annotations

import gzip
import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlmrec.config import DataConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.data.prepare import PrepareReport, load_reviews, prepare
from hnlmrec.data.readers import READERS, RawData, blocks
from hnlmrec.data.readers.rejected import (
    MAX_SHARE,
    RAW_CHARACTERS,
    SAMPLE,
    Place,
    Rejected,
    RowError,
)
from hnlmrec.errors import DataError

GOOD = [f"u{n % 7},i{n % 5},{n % 5 + 1},{n}" for n in range(60)]
HEADER = "user_id,item_id,rating,timestamp"


def read(folder, reader="table", **settings) -> RawData:
    return READERS[reader](DataConfig(reader=reader, path=str(folder), **settings), folder)


def write_csv(folder, rows, name="interactions.csv"):
    lines = [row if isinstance(row, bytes) else row.encode() for row in (HEADER, *rows)]
    (folder / name).write_bytes(b"\n".join(lines) + b"\n")


def amid(*bad):
    """Bad rows among good ones, the first as line 12."""
    return [*GOOD[:10], *bad, *GOOD[10:]]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",i1,4,1", "user_id is empty"),
        ("u1,,4,1", "item_id is empty"),
        ("u1,i1,good,1", "rating is not a number"),
        ("u1,i1,nan,1", "rating is not a number"),
        ("u1,i1,-Infinity,1", "rating is not a number"),
        ("u1,i1,4,1e300", "timestamp is not a number"),
        ("u1,i1,4,1,more", "more fields than the 4 of the header"),
        ('u1,"i1,4,1', "quotes that do not match"),
        ('u1,"5" disk",4,1', "quotes that do not match"),
        (b"u1,caf\xe9,4,1", "not UTF-8 text"),
    ],
)
def test_a_bad_row_of_a_table_is_left_out_and_kept_as_a_sample(tmp_path, row, reason):
    write_csv(tmp_path, amid(row))
    raw = read(tmp_path)
    write_csv(tmp_path, GOOD)
    assert raw.interactions.equals(read(tmp_path).interactions)
    assert raw.rejected.counts == {"interactions.csv": {reason: 1}}
    write_csv(tmp_path, amid(row))
    with pytest.raises(RowError, match=r"interactions\.csv, line 12"):
        read(tmp_path, strict=True)

    raw.rejected.write(tmp_path)
    [found] = [json.loads(line) for line in (tmp_path / "rejected.jsonl").open()]
    text = row.decode("utf-8", "replace") if isinstance(row, bytes) else row
    column = reason.split()[0] if "number" in reason else None
    assert found.pop("column", None) == column
    assert found == {"file": "interactions.csv", "line": 12, "reason": reason, "raw": text}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"reviewerID": "A"', "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"reviewerID": "", "asin": "B"}', "reviewerID is empty"),
        ('{"reviewerID": "A"}', "asin is empty"),
        ('{"reviewerID": "A", "asin": "B", "overall": NaN}', "overall is not a number"),
        ('{"reviewerID": "A", "asin": "B", "overall": true}', "overall is not a number"),
        ('{"reviewerID": "A", "asin": "B", "overall": 1e999}', "overall is not a number"),
        (b'{"reviewerID": "A", "asin": "\xe9"}', "not UTF-8 text"),
        ("[" * 100_000, "not JSON"),
        ('{"reviewerID": ' + "9" * 10_000 + "}", "not JSON"),
    ],
)
def test_a_bad_review_is_left_out_and_the_others_keep_their_texts(tmp_path, line, reason):
    reviews = [
        {"reviewerID": f"A{n}", "asin": f"B{n % 4}", "overall": 5, "reviewText": f"text {n}"}
        for n in range(40)
    ]
    lines = [json.dumps(review).encode() for review in reviews]
    lines.insert(20, line if isinstance(line, bytes) else line.encode())
    (tmp_path / "Toys.json").write_bytes(b"\n".join(lines))
    (tmp_path / "meta_Toys.json").write_text('{"asin": "B1", "title": "T"}\n')
    raw = read(tmp_path, "amazon")
    assert raw.rejected.counts == {"Toys.json": {reason: 1}}
    assert raw.interactions["user_id"].to_list() == [f"A{n}" for n in range(40)]
    assert raw.reviews(pl.Series([3, 19, 20, 39])).to_list() == [
        "text 3", "text 19", "text 20", "text 39",
    ]  # fmt: skip
    with pytest.raises(RowError, match=r"Toys\.json, line 21"):
        read(tmp_path, "amazon", strict=True)


def test_bad_items_are_left_out_too(tmp_path):
    write_csv(tmp_path, GOOD)
    lines = [json.dumps({"item_id": f"i{n}", "title": "T"}) for n in range(30)]
    (tmp_path / "items.jsonl").write_text("\n".join([*lines, '{"title": "no id"}', "{"]))
    raw = read(tmp_path)
    assert raw.items.height == 30
    assert raw.rejected.counts == {"items.jsonl": {"item_id is empty": 1, "not JSON": 1}}


def test_rows_of_parquet_are_left_out(tmp_path):
    ratings = [float(n % 5) for n in range(40)]
    ratings[7], ratings[9] = float("nan"), float("inf")
    users = ["u"] * 39 + [None]
    frame = pl.DataFrame({"user_id": users, "item_id": ["i"] * 40, "rating": ratings})
    frame.write_parquet(tmp_path / "interactions.parquet")
    raw = read(tmp_path)
    assert raw.interactions.height == 37
    counts = {"rating is not a number": 2, "user_id is empty": 1}
    assert raw.rejected.counts == {"interactions.parquet": counts}
    raw.rejected.write(tmp_path)
    first = json.loads((tmp_path / "rejected.jsonl").read_text().splitlines()[1])
    assert (first["row"], first["raw"]) == (8, "{'user_id': 'u', 'item_id': 'i', 'rating': nan}")


def test_too_many_bad_rows_stop_in_any_mode(tmp_path):
    write_csv(tmp_path, ["u,i,4,1"] * 90 + ["u,i,x,1"] * 9 + [",i,4,1"])
    assert read(tmp_path).interactions.height == 90
    write_csv(tmp_path, ["u,i,4,1"] * 89 + ["u,i,x,1"] * 10 + [",i,4,1"])
    message = (
        r"interactions\.csv: 11 of 100 rows cannot be used, more than 10% \(rating is not a "
        r"number: 10; user_id is empty: 1\); as .*line 91, column rating: 'x' is not a "
    )
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_a_wrong_mapping_stops_in_any_mode(tmp_path):
    write_csv(tmp_path, GOOD)
    with pytest.raises(DataError, match=r"60 of 60 rows cannot be used.*user_id is not a "):
        read(tmp_path, columns={"timestamp": "user_id"})


def test_the_sample_is_bounded(tmp_path):
    rejected, path = Rejected(), tmp_path / "f.csv"
    for n in range(3 * SAMPLE):
        rejected.add(RowError("one", Place(path, n)), "x" * 1000)
        rejected.add(RowError("other", Place(path, n)), "\udce9")
    rejected.write(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "rejected.jsonl").open()]
    assert len(rows) == 2 * SAMPLE
    assert {len(row["raw"]) for row in rows} == {1, RAW_CHARACTERS}
    assert rejected.counts == {"f.csv": {"one": 3 * SAMPLE, "other": 3 * SAMPLE}}


def test_the_report_counts_what_was_left_out(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    write_csv(source, amid("u,i,x,1", "u,i,y,1", ",i,1,1"))
    config = DataConfig(reader="table", path=str(source), core=1, min_rating=None)
    report = prepare(config, out)
    assert PrepareReport.load(out).rejected == {
        "interactions.csv": {"rating is not a number": 2, "user_id is empty": 1}
    }
    assert report.lines()[-1] == (
        "note: rows of interactions.csv left out: 3 (rating is not a number: 2; user_id is empty: "
        "1); see rejected.jsonl"
    )
    assert len((out / "rejected.jsonl").read_text().splitlines()) == 3
    with pytest.raises(DataError, match=r"rejected\.jsonl: 3 rows were left out.*data\.strict"):
        report.refuse_rejected(out)


def test_without_flaws_nothing_is_said_of_them(tmp_path):
    write_csv(tmp_path, GOOD)
    (tmp_path / "out").mkdir()
    config = DataConfig(reader="table", path=str(tmp_path), core=1, min_rating=None)
    report = prepare(config, tmp_path / "out")
    report.refuse_rejected(tmp_path / "out")
    # later stages are known by the content of these files: no field more than there was
    assert json.loads((tmp_path / "out" / "report.json").read_text()).keys() == {
        "steps", "users", "items", "interactions", "density", "items_without_text", "reviews",
        "notes",
    }  # fmt: skip
    assert not (tmp_path / "out" / "rejected.jsonl").exists()


def test_ids_that_look_alike_are_kept_apart_and_noted(tmp_path):
    rows = [
        f"{user},{item},5,1"
        for user in ("Ann", "ann", " ann")
        for item in ("e\u0301", "\u00e9", "z")
    ]
    write_csv(tmp_path, rows)
    (tmp_path / "out").mkdir()
    config = DataConfig(reader="table", path=str(tmp_path), core=1)
    report = prepare(config, tmp_path / "out")
    data = Interactions.load(tmp_path / "out")
    assert data.user_ids.to_list() == ["Ann", "ann", " ann"]
    assert data.item_ids.to_list() == ["e\u0301", "\u00e9", "z"]
    kept = "differ from another only by case, spaces around or Unicode form, and were kept apart"
    assert f"values of user_id that {kept}: 2" in report.notes
    assert f"values of item_id that {kept}: 1" in report.notes


def test_times_before_1970_are_kept_and_noted(tmp_path):
    write_csv(tmp_path, ["u,a,5,-100", "u,b,5,0", "u,c,5,-1", "u,d,5,7"])
    (tmp_path / "out").mkdir()
    split = {"method": "leave_one_out"}
    config = DataConfig(reader="table", path=str(tmp_path), core=1, split=split)
    report = prepare(config, tmp_path / "out")
    assert "timestamps below 0, which are times before 1970: 2" in report.notes
    data = Interactions.load(tmp_path / "out")
    assert [data.item_ids[int(data.pairs(part)[1][0])] for part in ("valid", "test")] == ["b", "d"]


def test_items_without_text_and_texts_without_interactions_are_counted(tmp_path):
    write_csv(tmp_path, GOOD)
    (tmp_path / "items.jsonl").write_text(
        "".join(json.dumps({"item_id": f"i{n}", "title": "T"}) + "\n" for n in range(3, 9))
    )
    (tmp_path / "out").mkdir()
    config = DataConfig(reader="table", path=str(tmp_path), core=1, min_rating=None)
    lines = prepare(config, tmp_path / "out").lines()
    assert "note: items without a text: 3" in lines
    assert "note: texts of items that no interaction has: 4" in lines
    assert ItemTexts.load(tmp_path / "out").frame.height == 5


class TestBlocks:
    """Where a file is cut into blocks changes nothing."""

    odd = (",i,4,1", 'u,"a\nb",1,1', "", 'u,"a""b",1,1', "u,i,1,1,1", 'u,5" x,1,1', 'u,"x,1,1')

    @settings(max_examples=50)
    @given(st.integers(1, 400), st.lists(st.sampled_from([*GOOD, *odd]), max_size=40))
    def test_of_any_size_are_read_alike(self, tmp_path_factory, size, rows):
        folder = tmp_path_factory.mktemp("blocks")
        write_csv(folder, [*GOOD * 4, *rows])
        try:
            whole = read(folder)
        except DataError as error:
            whole = error
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "_READ", size)
            if isinstance(whole, DataError):
                with pytest.raises(DataError):
                    read(folder)
                return
            cut = read(folder)
        assert cut.interactions.equals(whole.interactions)
        assert cut.rejected.counts == whole.rejected.counts

    def test_a_stray_quote_loses_its_own_line_only(self, tmp_path, monkeypatch):
        stray = ['u1,"i1,4,1', 'u2,"5"" disk,4,1']
        rows = [*GOOD, stray[0], *GOOD * 20, stray[1], *GOOD]
        write_csv(tmp_path, rows)
        for size in (64, 1 << 20):
            monkeypatch.setattr(blocks, "_READ", size)
            raw = read(tmp_path)
            assert raw.interactions.height == 22 * len(GOOD)
            assert raw.rejected.counts == {"interactions.csv": {"quotes that do not match": 2}}

    def test_a_quote_amid_a_field_is_a_character(self, tmp_path, monkeypatch):
        write_csv(tmp_path, [*GOOD, 'u2,5" disk,4,1', *GOOD, 'u3,a "b" c,4,1', *GOOD])
        for size in (64, 1 << 20):
            monkeypatch.setattr(blocks, "_READ", size)
            raw = read(tmp_path)
            assert raw.rejected.counts == {}
            assert raw.interactions["item_id"][60] == '5" disk'
            assert raw.interactions["item_id"][121] == 'a "b" c'

    @pytest.mark.parametrize("name", ["interactions.csv", "interactions.csv.gz"])
    def test_a_long_row_within_quotes_is_whole(self, tmp_path, monkeypatch, name):
        write_csv(tmp_path, [*GOOD, 'u,"' + "a\n" * 500 + '",1,1', *GOOD])
        if name.endswith("gz"):
            (tmp_path / name).write_bytes(
                gzip.compress((tmp_path / "interactions.csv").read_bytes())
            )
            (tmp_path / "interactions.csv").unlink()
        monkeypatch.setattr(blocks, "_READ", 100)
        raw = read(tmp_path)
        assert raw.interactions["item_id"][60] == "a\n" * 500
        assert raw.rejected.counts == {}


def test_the_share_that_stops_is_what_the_docs_say():
    assert MAX_SHARE == 0.1


def test_reviews_of_a_prepared_set_skip_bad_lines(tmp_path):
    reviews = [
        {"reviewerID": f"A{n % 6}", "asin": f"B{n}", "overall": 5, "reviewText": f"text {n}"}
        for n in range(30)
    ]
    lines = [json.dumps(review) for review in reviews]
    lines[4:4] = ["{", "", "[]"]
    (tmp_path / "Toys.json").write_text("\n".join(lines))
    (tmp_path / "meta_Toys.json").write_text('{"asin": "B1", "title": "T"}\n')
    (tmp_path / "out").mkdir()
    prepare(DataConfig(reader="amazon", path=str(tmp_path), core=1), tmp_path / "out")
    items = Interactions.load(tmp_path / "out").item_ids
    for _, item, review in load_reviews(tmp_path / "out").rows():
        assert review == "text " + items[item].removeprefix("B")
