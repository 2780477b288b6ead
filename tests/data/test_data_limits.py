"""Files of an odd form or size: what is read of them, and where the limits are."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import numpy as np
import polars as pl
import pytest

from hnlmrec.config import DataConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.data.prepare import prepare
from hnlmrec.data.readers import READERS, RawData, blocks
from hnlmrec.data.readers.streams import FREE_BYTES, MAX_LINE, MAX_RATIO
from hnlmrec.errors import DataError

CSV = b"user_id,item_id,rating\nu,a,4\nu,b,5\nv,a,3\n"
ROWS = [("u", "a"), ("u", "b"), ("v", "a")]
MIB = 1 << 20


def read(folder, reader="table", **settings) -> RawData:
    return READERS[reader](DataConfig(reader=reader, path=str(folder), **settings), folder)


def pairs(raw):
    return raw.interactions.select("user_id", "item_id").rows()


def fails(folder, message, **settings):
    with pytest.raises(DataError, match=message):
        read(folder, **settings)


def bomb(path, piece: bytes, size: int) -> None:
    """A gzip file that becomes ``size`` bytes and more, without making them all at once."""
    pressing = zlib.compressobj(9, wbits=31)
    with path.open("wb") as file:
        for _ in range(size // len(piece) + 1):
            file.write(pressing.compress(piece))
        file.write(pressing.flush())


class TestForms:
    @pytest.mark.parametrize(
        "content",
        [
            CSV.replace(b"\n", b"\r\n"),
            CSV.replace(b"\n", b"\r"),
            CSV.replace(b"4\n", b"4\r\n"),
            CSV.replace(b"4\n", b"4\r"),
            CSV.replace(b"4\n", b"4\n\r\n\n"),
            b"\xef\xbb\xbf" + CSV,
            b"\r\n\n" + CSV,
            CSV.rstrip(),
            gzip.compress(CSV),
            gzip.compress(b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n")),
            gzip.compress(CSV[:20]) + gzip.compress(CSV[20:]),
        ],
    )
    def test_ends_of_lines_marks_and_gzip_make_no_difference(self, tmp_path, content):
        (tmp_path / "interactions.csv").write_bytes(content)
        raw = read(tmp_path, strict=True)
        assert pairs(raw) == ROWS
        assert raw.interactions["rating"].to_list() == [4, 5, 3]

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\r\n \n"])
    def test_so_it_is_with_json_lines(self, tmp_path, end):
        (tmp_path / "interactions.csv").write_bytes(CSV)
        items = [json.dumps({"item_id": name, "title": name.upper()}) for name in "abc"]
        text = b"\xef\xbb\xbf" + end.join(items).encode()
        (tmp_path / "items.jsonl").write_bytes(text)
        raw = read(tmp_path, strict=True)
        assert raw.items["title"].to_list() == ["A", "B", "C"]

    @pytest.mark.parametrize("name", ["interactions.csv", "items.jsonl", "items.csv"])
    def test_gzip_in_gzip_is_refused(self, tmp_path, name):
        (tmp_path / "interactions.csv").write_bytes(CSV)
        twice = gzip.compress(gzip.compress(b"x"))
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / f"{name}.gz").write_bytes(twice)
        fails(tmp_path, rf"{name}\.gz: this is gzip within gzip.*gunzip")

    def test_utf_16_is_refused(self, tmp_path):
        (tmp_path / "interactions.csv").write_text(CSV.decode(), encoding="utf-16")
        fails(tmp_path, r"interactions\.csv: this is UTF-16 text.*UTF-8")

    @pytest.mark.parametrize("content", [b"", b"\n\r\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
    def test_a_file_of_nothing_is_empty(self, tmp_path, content):
        (tmp_path / "interactions.csv").write_bytes(content)
        fails(tmp_path, r"interactions\.csv: the file is empty")

    def test_columns_of_one_name_are_refused(self, tmp_path):
        (tmp_path / "d.inter").write_text("user_id:token\tuser_id:float\titem_id:token\na\t1\tb\n")
        fails(tmp_path, r"d\.inter: two columns are called 'user_id'", reader="recbole")

    def test_a_parquet_column_of_lists_is_no_id(self, tmp_path):
        frame = pl.DataFrame({"user_id": [["u"]], "item_id": ["a"]})
        frame.write_parquet(tmp_path / "interactions.parquet")
        fails(tmp_path, r"interactions\.parquet: the column user_id holds List")


class TestLongLines:
    def test_of_a_table_are_left_out(self, tmp_path):
        rows = CSV + CSV.partition(b"\n")[2] * 9
        long = [b"u,%s,4\n" % (b"x" * size) for size in (MAX_LINE - 5, MAX_LINE + 1, 3 * MAX_LINE)]
        (tmp_path / "interactions.csv").write_bytes(rows + b"".join(long) + b"z,z,1\n")
        raw = read(tmp_path)
        assert raw.interactions.height == 30 + 2
        assert pairs(raw)[-1] == ("z", "z")
        assert raw.rejected.counts == {"interactions.csv": {"longer than 16 MiB": 2}}

    def test_of_json_are_left_out_without_being_held(self, tmp_path):
        (tmp_path / "interactions.csv").write_bytes(CSV)
        short = [json.dumps({"item_id": f"i{n}"}).encode() for n in range(20)]
        with (tmp_path / "items.jsonl").open("wb") as file:
            file.write(b"\n".join(short) + b"\n{")
            for _ in range(96):
                file.write(b"x" * MIB)
            file.write(b'\n{"item_id": "last"}\n')
        tracemalloc.start()
        try:
            raw = read(tmp_path)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert raw.items["item_id"][-1] == "last"
        assert raw.rejected.counts == {"items.jsonl": {"longer than 16 MiB": 1}}
        assert peak < 5 * MAX_LINE

    def test_a_quote_that_is_never_closed_loses_its_line(self, tmp_path, monkeypatch):
        filler = b"".join(b"u,i%04d,%d\n" % (n, n % 5) for n in range(10_000))
        (tmp_path / "interactions.csv").write_bytes(CSV + b'u,"open,1\n' + filler)
        for size in (4_096, MAX_LINE):
            monkeypatch.setattr(blocks, "_READ", size)
            monkeypatch.setattr(blocks, "MAX_LINE", size)
            raw = read(tmp_path)
            assert raw.interactions.height == 3 + 10_000
            assert raw.rejected.counts == {"interactions.csv": {"quotes that do not match": 1}}

    def test_a_header_of_countless_columns_is_refused(self, tmp_path):
        (tmp_path / "interactions.csv").write_bytes(b"," * 100_000 + b"\nu,i\n")
        fails(tmp_path, r"interactions\.csv: the header names more than 10,000 columns")


class TestBombs:
    @pytest.mark.parametrize("piece", [b"\n" * MIB, b"\0" * MIB, b"u,i,5\n" * 100_000])
    def test_of_gzip_are_refused(self, tmp_path, piece):
        bomb(tmp_path / "interactions.csv.gz", CSV[:23] + piece, 4 * FREE_BYTES)
        fails(tmp_path, rf"more than {MAX_RATIO} times as large as it is.*decompress it")

    def test_so_they_are_in_items(self, tmp_path):
        (tmp_path / "interactions.csv").write_bytes(CSV)
        bomb(tmp_path / "items.jsonl.gz", b" \n" * MIB, 4 * FREE_BYTES)
        fails(tmp_path, rf"items\.jsonl\.gz: the gzip file becomes more than {MAX_RATIO} times")

    def test_what_stays_small_may_be_pressed_as_it_likes(self, tmp_path):
        rows = b"u,i,5\n" * 1_000_000
        (tmp_path / "interactions.csv.gz").write_bytes(gzip.compress(CSV + rows))
        size = (tmp_path / "interactions.csv.gz").stat().st_size
        assert len(rows) > MAX_RATIO * size
        assert read(tmp_path).interactions.height == 3 + 1_000_000

    def test_of_parquet_are_refused(self, tmp_path):
        frame = pl.select(user_id=pl.repeat("u", 30_000_000), item_id=pl.repeat("i", 30_000_000))
        frame.write_parquet(tmp_path / "interactions.parquet")
        fails(tmp_path, r"interactions\.parquet: its 30,000,000 rows take more than 200 times")


class TestShapes:
    def prepared(self, tmp_path, frame, **settings):
        (tmp_path / "out").mkdir()
        frame.write_parquet(tmp_path / "interactions.parquet")
        config = DataConfig(reader="table", path=str(tmp_path), **{"core": 1, **settings})
        report = prepare(config, tmp_path / "out")
        return report, Interactions.load(tmp_path / "out")

    @pytest.mark.parametrize("method", ["ratio", "leave_one_out"])
    def test_a_million_interactions_of_one_user(self, tmp_path, method):
        n = 1_000_000
        items = np.random.default_rng(0).permutation(n)
        frame = pl.DataFrame({"user_id": ["u"] * n, "item_id": items, "timestamp": np.arange(n)})
        report, data = self.prepared(tmp_path, frame, split={"method": method})
        assert (data.n_users, data.n_items) == (1, n)
        held_out = 1 if method == "leave_one_out" else n // 10
        counts = {"train": n - 2 * held_out, "valid": held_out, "test": held_out}
        assert report.interactions == counts

    def test_the_same_pair_a_million_times(self, tmp_path):
        n = 1_000_000
        frame = pl.DataFrame({"user_id": ["u"] * n, "item_id": ["i"] * n})
        report, _ = self.prepared(tmp_path, frame)
        assert report.interactions == {"train": 1, "valid": 0, "test": 0}
        assert report.steps[-1].dropped_interactions == n - 1

    def test_one_item_only(self, tmp_path):
        users = [f"u{n}" for n in range(1000)]
        report, data = self.prepared(
            tmp_path, pl.DataFrame({"user_id": users, "item_id": ["i"] * 1000})
        )
        assert (data.n_users, data.n_items, report.density) == (1000, 1, 1.0)
        assert report.notes[-2:] == ["the valid part is empty", "the test part is empty"]
