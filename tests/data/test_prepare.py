from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlmrec.config import DataConfig
from hnlmrec.data.interactions import SPLITS, Interactions, ItemTexts
from hnlmrec.data.prepare import PrepareReport, load_reviews, prepare
from hnlmrec.errors import ArtifactError, DataError


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def out(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def config(source, **given) -> DataConfig:
    return DataConfig(**{"reader": "table", "path": str(source), "core": 1, **given})


ROWS = "v,b,5,1\nu,a,5,2\nu,c,4,3\nu,b,5,4\nu,b,5,9\nv,a,1,5\nw,d,4,6\n"


def write(source, rows=ROWS):
    (source / "interactions.csv").write_text("user_id,item_id,rating,timestamp\n" + rows)


def test_everything_is_written_and_reported(source, out):
    write(source)
    (source / "items.jsonl").write_text(
        '{"item_id": "a", "title": "A"}\n{"item_id": "never", "title": "N"}\n'
        '{"item_id": "b", "brand": "B"}\n'
    )
    report = prepare(config(source), out)

    data = Interactions.load(out)
    assert data.user_ids.to_list() == ["v", "u", "w"]
    assert data.item_ids.to_list() == ["b", "a", "c", "d"]
    texts = ItemTexts.load(out)
    assert texts.frame["title"].to_list() == ["", "A", "", ""]
    assert texts.frame["brand"].to_list() == ["B", "", "", ""]

    assert (report.users, report.items) == (3, 4)
    assert report.interactions == {"train": 3, "valid": 1, "test": 1}
    assert report.interactions == {part: data.part(part).nnz for part in SPLITS}
    assert report.density == pytest.approx(5 / 12)
    assert report.items_without_text == 2
    assert report.unused_texts == 1
    assert "note: texts of items that no interaction has: 1" in report.lines()
    assert [step.name for step in report.steps] == ["read", "rating >= 4", "repeated pairs"]
    assert [step.dropped_interactions for step in report.steps] == [0, 1, 1]
    read = PrepareReport.load(out)
    assert read == report.model_copy(update={"unused_texts": 0})


def test_the_report_prints(source, out):
    write(source)
    lines = prepare(config(source), out).lines()
    assert lines[:4] == [
        "read: 7 interactions, 3 users, 4 items",
        "rating >= 4: 6 interactions, 3 users, 4 items (dropped 1, 0, 0)",
        "repeated pairs: 5 interactions, 3 users, 4 items (dropped 1, 0, 0)",
        "split: train 3, valid 1, test 1; density 41.6667%",
    ]
    assert "note: items without a text: 4" in lines
    assert "note: there is no file of items, so no item has a text" in lines


def test_users_with_one_interaction_train_only(source, out):
    write(source, "u,a,5,1\nv,b,5,2\n")
    report = prepare(config(source), out)
    assert report.interactions == {"train": 2, "valid": 0, "test": 0}
    assert report.notes[1:] == ["the valid part is empty", "the test part is empty"]


def test_time_split_drops_users_without_training(source, out):
    write(source, "".join(f"u,i{time},5,{time}\n" for time in range(9)) + "new,x,5,99\n")
    report = prepare(config(source, split={"method": "time"}), out)
    step = report.steps[-1]
    assert step.name == "users with training interactions"
    assert (step.dropped_interactions, step.dropped_users, step.dropped_items) == (1, 1, 1)
    assert report.interactions == {"train": 8, "valid": 1, "test": 0}
    assert "items without a training interaction: 1" in report.notes
    data = Interactions.load(out)
    assert data.user_ids.to_list() == ["u"]
    assert "x" not in data.item_ids


def test_an_emptied_dataset_writes_nothing(source, out):
    write(source)
    with pytest.raises(DataError, match=r"'7-core'.*lower data\.core"):
        prepare(config(source, core=7), out)
    assert list(out.iterdir()) == []


def test_the_same_files_give_the_same_artefacts(source, out, tmp_path):
    write(source)
    (tmp_path / "again").mkdir()
    prepare(config(source), out)
    prepare(config(source), tmp_path / "again")
    names = sorted(path.name for path in out.iterdir())
    assert names == [
        "interactions.parquet",
        "item_ids.parquet",
        "item_texts.parquet",
        "report.json",
        "users.parquet",
    ]
    for name in names:
        assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_reviews_of_training_pairs_only(source, out):
    reviews = [
        {"reviewerID": "u", "asin": item, "overall": 5, "unixReviewTime": time, "reviewText": text}
        for time, (item, text) in enumerate(
            [("a", "one"), ("b", ""), ("c", "three"), ("d", "four")]
        )
    ]
    lines = [json.dumps(review) for review in [*reviews[::-1], {**reviews[0], "reviewText": "x"}]]
    (source / "Toys_5.json").write_text("\n".join(lines))
    (source / "meta_Toys.json").write_text('{"asin": "a", "title": "A"}\n')
    report = prepare(config(source, reader="amazon", split={"method": "leave_one_out"}), out)
    assert report.reviews == 1
    assert "training interactions with a review: 1" in report.lines()
    data, written = Interactions.load(out), load_reviews(out)
    assert written.schema == {"user": pl.Int32, "item": pl.Int32, "review": pl.String}
    [(user, item, review)] = written.rows()
    assert (data.user_ids[user], data.item_ids[item], review) == ("u", "a", "one")


def test_without_reviews_there_are_none(source, out):
    write(source)
    assert prepare(config(source), out).reviews == 0
    assert load_reviews(out) is None


def test_damaged_reviews(out):
    (out / "reviews.parquet").write_bytes(b"no")
    with pytest.raises(ArtifactError, match="hnlmrec prepare"):
        load_reviews(out)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcdef")), min_size=1),
    st.sampled_from(["ratio", "leave_one_out"]),
)
def test_no_pair_is_lost_or_in_two_parts(tmp_path_factory, rows, method):
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    write(source, "".join(f"{u},{i},5,{time}\n" for time, (u, i) in enumerate(rows)))
    prepare(config(source, split={"method": method}), out)
    data = Interactions.load(out)
    found = [
        (data.user_ids[int(user)], data.item_ids[int(item)])
        for part in SPLITS
        for user, item in zip(*data.pairs(part), strict=True)
    ]
    assert len(found) == len(set(found))
    assert set(found) == set(rows)
    assert len(set(data.pairs("train")[0])) == data.n_users


def test_a_share_of_training_leaves_the_catalogue_and_what_is_held_out(source, out, tmp_path):
    pairs = [(u, i) for u in range(20) for i in range(30) if (u * 7 + i * 3) % 5 < 2]
    write(source, "".join(f"u{u},i{i},5,{n}\n" for n, (u, i) in enumerate(pairs)))
    prepare(config(source), out)
    full = Interactions.load(out)
    (tmp_path / "thin").mkdir()
    report = prepare(config(source, split={"train_share": 0.5}), tmp_path / "thin")
    thin = Interactions.load(tmp_path / "thin")
    assert thin.item_ids.to_list() == full.item_ids.to_list()
    assert thin.user_ids.to_list() == full.user_ids.to_list()
    for part in ("valid", "test"):
        assert (thin.part(part) != full.part(part)).nnz == 0
    assert report.steps[-1].name == "50% of training"
    assert thin.train.nnz == full.train.nnz - report.steps[-1].dropped_interactions
    assert thin.train.nnz == full.train.nnz // 2
    assert thin.train.multiply(full.train).nnz == thin.train.nnz
