"""Prepared data written for others, and read again."""

from __future__ import annotations

import fsspec
import polars as pl
import pytest
from typer.testing import CliRunner

from hnlmrec.cli import app
from hnlmrec.config import DataConfig
from hnlmrec.data.embedded import locate
from hnlmrec.data.export import export
from hnlmrec.data.interactions import TEXT_FIELDS, Interactions, ItemTexts
from hnlmrec.data.readers import READERS
from hnlmrec.errors import DataError
from synthetic import N_ITEMS, interactions, write_files


@pytest.fixture
def data() -> Interactions:
    return interactions()


@pytest.fixture
def texts() -> ItemTexts:
    columns = {field: [f"{field} {n}" for n in range(N_ITEMS)] for field in TEXT_FIELDS}
    return ItemTexts(pl.DataFrame(columns))


def expected(data: Interactions) -> list[tuple[str, str, str]]:
    return [
        (data.user_ids[user], data.item_ids[item], split)
        for split in ("train", "valid", "test")
        for user, item in zip(*(part.tolist() for part in data.pairs(split)), strict=True)
    ]


def test_parts_hold_the_own_ids_in_order(tmp_path, data, texts):
    n_parts = export(data, texts, str(tmp_path / "out"), n_rows=50)
    parts = sorted((tmp_path / "out" / "interactions").iterdir())
    frames = [pl.read_parquet(part) for part in parts]
    assert len(parts) == n_parts
    assert max(frame.height for frame in frames) == 50
    assert pl.concat(frames).rows() == expected(data)
    items = pl.read_parquet(tmp_path / "out" / "items" / "*.parquet")
    assert items["item_id"].to_list() == data.item_ids.to_list()
    assert items.drop("item_id").equals(texts.frame)
    assert (tmp_path / "out" / "_SUCCESS").exists()


def test_a_store_takes_it_and_gives_it_back(data, texts):
    pytest.importorskip("pyarrow", reason="Parquet is read from a store by pyarrow")
    store = fsspec.filesystem("memory")
    try:
        export(data, texts, "memory://exported/here", n_rows=50)
        config = DataConfig(reader="table", path="memory://exported/here")
        raw = READERS["table"](config, locate(config.path))
        pairs = [pair[:2] for pair in expected(data)]
        assert raw.interactions.select("user_id", "item_id").rows() == pairs
        assert raw.items["title"].to_list() == texts.frame["title"].to_list()
        with pytest.raises(DataError, match="something already"):
            export(data, texts, "memory://exported/here")
    finally:
        store.rm("/exported", recursive=True)


def test_what_is_there_is_kept(tmp_path, data, texts):
    (tmp_path / "mine").write_text("mine")
    for target in (tmp_path, tmp_path / "mine"):
        with pytest.raises(DataError, match="something already"):
            export(data, texts, str(target))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command(tmp_path):
    write_files(tmp_path / "data")
    config = tmp_path / "config.yaml"
    config.write_text(
        f"run: {tmp_path / 'run'}\n"
        f"data: {{reader: table, path: {tmp_path / 'data'}, core: 1, min_rating: null}}\n"
    )
    target = tmp_path / "out"
    done = CliRunner().invoke(app, ["prepare", str(config), "--export", str(target)])
    assert done.exit_code == 0, done.output
    frame = pl.read_parquet(target / "interactions" / "*.parquet")
    counts = dict(frame["split"].value_counts().rows())
    data = Interactions.load(tmp_path / "run" / "prepare")
    assert counts == {name: data.part(name).nnz for name in counts}
    assert set(frame["user_id"]) <= set(data.user_ids)
