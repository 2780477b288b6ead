"""Tables in parts: read as one file of them all would be."""

from __future__ import annotations

import gzip
import os

import polars as pl
import pytest

from hnlmrec.config import DataConfig
from hnlmrec.data.prepare import prepare
from hnlmrec.data.readers import READERS, RawData, parquet
from hnlmrec.errors import DataError
from hnlmrec.outside import source_files
from synthetic import write_files

SPLIT = 3  # rows of a part


def read(folder, **settings) -> RawData:
    return READERS["table"](DataConfig(reader="table", path=str(folder), **settings), folder)


def pairs(raw: RawData) -> list[tuple[str, str]]:
    return raw.interactions.select("user_id", "item_id").rows()


FRAME = pl.DataFrame(
    {
        "user_id": [f"u{n % 4}" for n in range(11)],
        "item_id": [f"i{n}" for n in range(11)],
        "rating": [float(n % 5 + 1) for n in range(11)],
    }
)


def write_parts(folder, ending: str, frame: pl.DataFrame = FRAME) -> list[str]:
    folder.mkdir(parents=True)
    names = []
    for start in range(0, frame.height, SPLIT):
        part, path = frame[start : start + SPLIT], folder / f"part-{start:02}{ending}"
        names.append(path.name)
        if ending == ".parquet":
            part.write_parquet(path)
        elif ending.endswith(".gz"):
            path.write_bytes(gzip.compress(part.write_csv().encode()))
        else:
            part.write_csv(path, separator="\t" if ending == ".tsv" else ",")
    return names


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".tsv", ".csv.gz"])
@pytest.mark.parametrize("given", [None, "interactions", "interactions/", "interactions/part-*"])
def test_a_folder_of_parts_is_one_file(tmp_path, ending, given):
    write_parts(tmp_path / "interactions", ending)
    (tmp_path / "interactions" / "_SUCCESS").touch()
    (tmp_path / "interactions" / f".part-00{ending}.crc").write_bytes(b"\0")
    raw = read(tmp_path, interactions=given)
    assert raw.interactions.rows() == [(*row, None) for row in FRAME.rows()]


def test_prepared_parts_are_the_bytes_of_the_prepared_file(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_files(whole)
    table = pl.read_csv(whole / "interactions.csv", infer_schema=False)
    texts = (whole / "items.jsonl").read_text().splitlines(keepends=True)
    (parts / "items").mkdir(parents=True)
    for number in range(3):
        some = texts[number * 10 : number * 10 + 10]
        (parts / "items" / f"{number}.jsonl").write_text("".join(some))
    (parts / "interactions").mkdir()
    for number, start in enumerate(range(0, table.height, 100)):
        table[start : start + 100].write_csv(parts / "interactions" / f"{number:03}.csv")
    found = []
    for name, source in (("a", whole), ("b", parts)):
        out = tmp_path / name
        out.mkdir()
        prepare(DataConfig(reader="table", path=str(source), core=2, min_rating=None), out)
        found.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert found[0] == found[1]


def test_parts_in_folders_of_a_column_come_in_the_order_of_their_paths(tmp_path):
    for day in ("b", "a"):
        folder = tmp_path / "interactions" / f"day={day}"
        folder.mkdir(parents=True)
        pl.DataFrame({"user_id": [day], "item_id": ["i"]}).write_parquet(folder / "0.parquet")
    raw = read(tmp_path)
    assert pairs(raw) == [("a", "i"), ("b", "i")]


def test_a_file_comes_before_a_folder_of_its_name(tmp_path):
    write_parts(tmp_path / "interactions", ".csv")
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu,a\n")
    assert pairs(read(tmp_path)) == [("u", "a")]


def test_some_parts_may_be_gzip(tmp_path):
    names = write_parts(tmp_path / "interactions", ".csv")
    part = tmp_path / "interactions" / names[1]
    part.with_suffix(".csv.gz").write_bytes(gzip.compress(part.read_bytes()))
    part.unlink()
    assert read(tmp_path).interactions.height == FRAME.height


def test_a_folder_called_items_may_hold_other_things(tmp_path):
    write_parts(tmp_path / "interactions", ".csv")
    (tmp_path / "items").mkdir()
    (tmp_path / "items" / "1.png").touch()
    assert read(tmp_path).items.height == 0
    files = source_files(DataConfig(reader="table", path=str(tmp_path)))
    assert {name.split("/")[0] for name, *_ in files} == {"interactions"}


class TestWhatIsWrong:
    def test_names_the_part_and_the_row(self, tmp_path):
        names = write_parts(tmp_path / "interactions", ".csv")
        bad = tmp_path / "interactions" / names[2]
        bad.write_text("user_id,item_id,rating\n" + "u,i,4\n" * 20 + "u,,4\n")
        with pytest.raises(DataError, match=rf"{names[2]}, line 22.*item_id is empty"):
            read(tmp_path, strict=True)
        assert read(tmp_path).rejected.counts == {
            f"interactions/{names[2]}": {"item_id is empty": 1}
        }

    def test_too_many_of_a_part_stop(self, tmp_path):
        names = write_parts(tmp_path / "interactions", ".csv")
        bad = tmp_path / "interactions" / names[1]
        bad.write_text("user_id,item_id,rating\n,i,4\n,j,4\n")
        with pytest.raises(DataError, match=rf"{names[1]}: 2 of 2 rows cannot be used"):
            read(tmp_path)

    @pytest.mark.parametrize(
        ("frame", "message"),
        [
            (FRAME.drop("rating"), "'rating' is none here and Float64 in .*part-00"),
            (FRAME.cast({"rating": pl.Int64}), "'rating' is Int64 here and Float64 in .*part-00"),
            (FRAME.with_columns(more=1), "'more' is Int32 here and none in .*part-00"),
        ],
    )
    def test_other_columns_or_types_name_both_parts(self, tmp_path, frame, message):
        write_parts(tmp_path / "interactions", ".parquet")
        frame.write_parquet(tmp_path / "interactions" / "part-99.parquet")
        with pytest.raises(DataError, match=rf"part-99\.parquet: the column {message}"):
            read(tmp_path)

    def test_other_columns_of_text_too(self, tmp_path):
        write_parts(tmp_path / "interactions", ".csv")
        (tmp_path / "interactions" / "part-99.csv").write_text("user_id,item_id,stars\nu,i,1\n")
        with pytest.raises(DataError, match=r"part-99\.csv: the column 'rating' is none here"):
            read(tmp_path)

    def test_several_formats_are_refused(self, tmp_path):
        write_parts(tmp_path / "interactions", ".csv")
        FRAME.write_parquet(tmp_path / "interactions" / "part-99.parquet")
        with pytest.raises(DataError, match=r"several formats, as part-00\.csv and part-99"):
            read(tmp_path)
        assert read(tmp_path, interactions="interactions/*.csv").interactions.height == 11

    @pytest.mark.parametrize("given", ["none", "none*", "empty", "interactions/*.json"])
    def test_no_part(self, tmp_path, given):
        write_parts(tmp_path / "interactions", ".csv")
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match="no such file, nor a part"):
            read(tmp_path, interactions=given)

    @pytest.mark.parametrize("given", ["../*.csv", "..", "interactions/../../x", "/etc/*.csv"])
    def test_patterns_stay_in_the_folder(self, tmp_path, given):
        write_parts(tmp_path / "data" / "interactions", ".csv")
        (tmp_path / "x.csv").write_text("user_id,item_id\nu,a\n")
        with pytest.raises(DataError, match=r"data\.interactions: .* lies outside"):
            read(tmp_path / "data", interactions=given)

    def test_a_damaged_part_is_named(self, tmp_path, monkeypatch):
        names = write_parts(tmp_path / "interactions", ".parquet")
        # what ends the process, when it comes to that part
        fatal = f"    if path.endswith({names[2]!r}): sys.exit(3)\n    try:"
        monkeypatch.setattr(parquet, "_TRIAL", parquet._TRIAL.replace("    try:", fatal, 1))
        with pytest.raises(DataError, match=rf"{names[2]}: the file is damaged"):
            read(tmp_path)


class TestWhatTheKeySees:
    def config(self, folder, **settings) -> DataConfig:
        return DataConfig(reader="table", path=str(folder), **settings)

    def test_all_parts_and_their_changes(self, tmp_path):
        names = write_parts(tmp_path / "interactions", ".csv")
        before = source_files(self.config(tmp_path))
        assert [name for name, *_ in before] == [f"interactions/{name}" for name in names]
        part = tmp_path / "interactions" / names[1]
        os.utime(part, ns=(1, 1))
        after = source_files(self.config(tmp_path))
        assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True, True]
        (tmp_path / "interactions" / "part-99.csv").write_text("user_id,item_id,rating\n")
        assert len(source_files(self.config(tmp_path))) == 5

    def test_of_files_alone_what_it_always_saw(self, tmp_path):
        (tmp_path / "deep").mkdir()
        for name in ("items.csv", "interactions.csv", "deep/x.csv"):
            (tmp_path / name).write_text("a\n")
        facts = [(tmp_path / name).stat() for name in ("interactions.csv", "items.csv")]
        assert source_files(self.config(tmp_path)) == [
            ("interactions.csv", 2, facts[0].st_mtime_ns),
            ("items.csv", 2, facts[1].st_mtime_ns),
        ]
