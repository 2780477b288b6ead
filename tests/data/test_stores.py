"""Data in stores that fsspec knows: found, read and noticed as local files are."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import fsspec
import polars as pl
import pytest

from hnlmrec.config import DataConfig, RunConfig
from hnlmrec.data import stores
from hnlmrec.data.embedded import locate
from hnlmrec.data.prepare import prepare
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.outside import source_files
from synthetic import write_files

SETTINGS = {"reader": "table", "core": 2, "min_rating": None}


@pytest.fixture
def local(tmp_path):
    folder = tmp_path / "local"
    write_files(folder)
    return folder


@pytest.fixture
def bucket(local):
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pseudo_dirs[:] = [""]
    yield store
    store.store.clear()


def prepared(path, out) -> dict[str, bytes]:
    out.mkdir()
    prepare(DataConfig(path=str(path), **SETTINGS), out)
    return {file.name: file.read_bytes() for file in out.iterdir()}


def table(local) -> pl.DataFrame:
    return pl.read_csv(local / "interactions.csv", infer_schema=False)


def put_parquet(bucket, frame, name, **settings) -> None:
    with bucket.open(name, "wb") as file:
        frame.write_parquet(file, **settings)


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "parts"])
def test_what_a_store_holds_is_prepared_as_the_local_files(tmp_path, local, bucket, form):
    pytest.importorskip("pyarrow", reason="Parquet is read from a store by pyarrow")
    bucket.pipe("/b/data/items.jsonl.gz", gzip.compress((local / "items.jsonl").read_bytes()))
    text = (local / "interactions.csv").read_bytes()
    if form == "csv":
        bucket.pipe("/b/data/interactions.csv", text)
    elif form == "csv.gz":
        bucket.pipe("/b/data/interactions.csv.gz", gzip.compress(text))
    elif form == "parquet":
        put_parquet(bucket, table(local), "/b/data/interactions.parquet", row_group_size=50)
    else:
        rows = table(local)
        for number, start in enumerate(range(0, rows.height, 200)):
            name = f"/b/data/interactions/day={number:02}/part.parquet"
            put_parquet(bucket, rows[start : start + 200], name)
    expected = prepared(local, tmp_path / "a")
    assert prepared("memory://b/data", tmp_path / "b") == expected


def test_reviews_are_read_twice_from_a_store_too(tmp_path, bucket):
    reviews = [
        {"reviewerID": f"u{n % 7}", "asin": f"i{n % 5}", "overall": 5.0, "reviewText": f"text {n}"}
        for n in range(35)
    ]
    records = [{"asin": f"i{n}", "title": f"Toy {n}"} for n in range(5)]
    folder = tmp_path / "amazon"
    folder.mkdir()
    for name, rows in (("Toys.json", reviews), ("meta_Toys.json", records)):
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / name).write_bytes(lines)
        bucket.pipe(f"/b/{name}", lines)
    found = []
    for path, out in ((str(folder), tmp_path / "a"), ("memory://b", tmp_path / "b")):
        out.mkdir()
        prepare(DataConfig(reader="amazon", path=path, core=1), out)
        found.append({file.name: file.read_bytes() for file in out.iterdir()})
    assert found[0] == found[1]
    assert "reviews.parquet" in found[0]


def test_a_file_address_is_a_folder(tmp_path, local):
    assert prepared(f"file://{local}", tmp_path / "a") == prepared(local, tmp_path / "b")


def test_of_parquet_only_the_wanted_columns_are_read(tmp_path, local, bucket, monkeypatch):
    pytest.importorskip("pyarrow", reason="Parquet is read from a store by pyarrow")
    rows = table(local)
    noise = pl.Series("noise", [f"{n * 7919 % 10007:05}" * 400 for n in range(rows.height)])
    put_parquet(
        bucket, rows.with_columns(noise), "/b/interactions.parquet", compression="uncompressed"
    )
    monkeypatch.setattr(stores, "_BUFFER", 512)
    n_read = 0
    original = stores._Steady._read

    def counting(self, n):
        nonlocal n_read
        data = original(self, n)
        n_read += len(data)
        return data

    monkeypatch.setattr(stores._Steady, "_read", counting)
    prepared("memory://b", tmp_path / "a")
    size = bucket.size("/b/interactions.parquet")
    assert n_read < size / 3


class TestKeys:
    def test_they_see_every_object(self, bucket):
        config = DataConfig(reader="table", path="memory://b")
        bucket.pipe("/b/interactions/0.csv", b"user_id,item_id\n")
        bucket.pipe("/b/other/1.csv", b"x")
        before = source_files(config)
        assert [(name, size) for name, size, _ in before] == [("interactions/0.csv", 16)]
        bucket.pipe("/b/interactions/0.csv", b"user_id,item_ie\n")
        assert source_files(config) != before
        bucket.pipe("/b/interactions/1.csv", b"user_id,item_id\n")
        assert len(source_files(config)) == 2

    def test_a_checksum_counts_more_than_a_time(self):
        facts = stores._facts({"size": 3, "ETag": '"abc"', "LastModified": "now", "mtime": 3})
        assert facts == (3, '"abc"')


class TestFaults:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch):
        monkeypatch.setattr(stores, "_PAUSES", (0, 0, 0))

    def test_those_that_pass_are_not_noticed(self, tmp_path, local, bucket, monkeypatch):
        for name in ("interactions.csv", "items.jsonl"):
            bucket.pipe(f"/b/{name}", (local / name).read_bytes())
        monkeypatch.setattr(stores, "_BUFFER", 512)
        original, calls = type(bucket).open, 0

        def flaky(self, *args, **kwargs):
            nonlocal calls
            calls += 1
            if calls % 2:
                raise ConnectionResetError("reset")
            return original(self, *args, **kwargs)

        monkeypatch.setattr(type(bucket), "open", flaky)
        assert prepared("memory://b", tmp_path / "a") == prepared(local, tmp_path / "b")
        assert calls > 2

    def test_those_that_last_are_told_after_four_times(self, tmp_path, local, bucket, monkeypatch):
        bucket.pipe("/b/interactions.csv", (local / "interactions.csv").read_bytes())
        calls = []

        def dead(self, path, *args, **kwargs):
            calls.append(path)
            raise RuntimeError("host is gone\nsecond line")

        monkeypatch.setattr(type(bucket), "open", dead)
        message = r"memory://.*interactions\.csv.*host is gone; tried 4 times\)"
        with pytest.raises(DataError, match=message):
            prepared("memory://b", tmp_path / "a")
        assert len(calls) == 4

    def test_a_store_that_does_not_answer(self, bucket, monkeypatch):
        def refuse(self, path, **kwargs):
            raise PermissionError("403")

        bucket.pipe("/b/x", b"")
        monkeypatch.setattr(type(bucket), "isdir", refuse)
        with pytest.raises(DataError, match=r"does not answer \(403\).*credentials"):
            locate("memory://b")

    def test_there_is_nothing(self, bucket):
        with pytest.raises(DataError, match="nothing at this address"):
            locate("memory://nowhere")

    @pytest.mark.parametrize("address", ["nosuch://b/c", "memory:x://b"])
    def test_an_address_that_is_none(self, address):
        with pytest.raises(DataError, match=r"no address of a store|hnlmrec\[cloud\]"):
            locate(address)

    def test_a_missing_package_is_named(self, monkeypatch):
        def missing(address):
            raise ImportError("Install s3fs to access S3")

        monkeypatch.setattr(fsspec, "url_to_fs", missing)
        with pytest.raises(DataError, match=r"Install s3fs.*hnlmrec\[cloud\]"):
            locate("s3://bucket/data")

    def test_a_damaged_file_is_told(self, tmp_path, bucket):
        pytest.importorskip("pyarrow", reason="Parquet is read from a store by pyarrow")
        bucket.pipe("/b/interactions.parquet", b"PAR1" + b"\0" * 64 + b"PAR1")
        with pytest.raises(DataError, match=r"memory://.*interactions\.parquet.*cannot be read"):
            prepared("memory://b", tmp_path / "a")


class TestSecurity:
    @pytest.mark.parametrize(
        "address",
        [
            "s3://AKIAKEY:hunter2hunter2@bucket/data",
            "s3://AKIAKEY@bucket/data",
            "https://host/data?X-Amz-Signature=hunter2",
            "az://box/data?sig=hunter2",
            "sftp://me:hunter2@host/data",
        ],
    )
    def test_keys_in_an_address_are_refused_and_not_shown(self, address):
        with pytest.raises(ConfigError, match=r"data\.path: .*environment") as caught:
            RunConfig.from_dict({"data": {"path": address}})
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize(
        "address",
        [
            "s3://bucket/data",
            "abfs://box@account.dfs.core.windows.net/data",
            "hf://datasets/me/data@main",
            "sftp://me@host/data",
        ],
    )
    def test_other_addresses_are_taken(self, address):
        assert RunConfig.from_dict({"data": {"path": address}}).data.path == address

    @pytest.mark.parametrize("address", ["simplecache::memory://b", "reference://x", "zip://a::b"])
    def test_an_address_that_leads_to_others_is_not_followed(self, address):
        with pytest.raises(DataError, match="leads to others"):
            locate(address)

    @pytest.mark.parametrize("given", ["../secret/interactions.csv", "/secret/*.csv", "../*/*.csv"])
    def test_files_lie_below_the_path(self, bucket, tmp_path, given):
        bucket.pipe("/b/data/interactions.csv", b"user_id,item_id\nu,a\n")
        bucket.pipe("/b/secret/interactions.csv", b"user_id,item_id\nu,a\n")
        config = DataConfig(reader="table", path="memory://b/data", interactions=given)
        with pytest.raises(DataError, match=r"data\.interactions: .*lies outside"):
            prepare(config, tmp_path)
        assert [name for name, *_ in source_files(config)] == ["interactions.csv"]


def test_local_data_load_no_fsspec_and_no_pyarrow(tmp_path, local):
    program = (
        "import sys, pathlib\n"
        "from hnlmrec.config import DataConfig\n"
        "from hnlmrec.data.prepare import prepare\n"
        "out = pathlib.Path(sys.argv[2]); out.mkdir()\n"
        "prepare(DataConfig(path=sys.argv[1], reader='table', core=1), out)\n"
        "print(sorted({'fsspec', 'pyarrow'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(local), str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "[]"
