"""What is recommended to whom, against a loop that scores everything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.data.pseudonyms import hashed
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.negatives import EmbeddingView
from hnlmrec.recommending import Recommender, allowed_items, known_users, recommend
from hnlmrec.recommending.choose import read_ids
from hnlmrec.recommending.files import write_frames

_USERS, _ITEMS = 7, 9


def _data(seed: int = 0) -> tuple[Interactions, EmbeddingView]:
    rng = np.random.default_rng(seed)
    users, items = np.divmod(np.flatnonzero(rng.random(_USERS * _ITEMS) < 0.4), _ITEMS)
    interactions = Interactions.from_pairs(
        pl.Series([f"u{n}" for n in range(_USERS)]),
        pl.Series([f"i{n}" for n in range(_ITEMS)]),
        users.astype(np.int32),
        items.astype(np.int32),
        rng.integers(0, 3, len(users)),
    )
    tables = (torch.from_numpy(rng.normal(size=(n, 3)).astype("f4")) for n in (_USERS, _ITEMS))
    return interactions, EmbeddingView(*tables)


def _by_loop(
    interactions: Interactions, view: EmbeddingView, allowed: set[int], parts: list[str], k: int
) -> dict[str, list[str]]:
    scores = (view.users @ view.items.T).numpy()
    found = {}
    for user in range(_USERS):
        own = {i for part in parts for i in interactions.part(part)[[user]].indices}
        left = sorted(allowed - own, key=lambda item: (-scores[user, item], item))
        found[f"u{user}"] = [f"i{item}" for item in left[:k]]
    return found


@given(
    st.integers(0, 50),
    st.sets(st.integers(0, _ITEMS - 1), min_size=1),
    st.sampled_from(["all", "train", "none"]),
    st.integers(1, 12),
)
@settings(deadline=None, max_examples=40)
def test_the_best_items_that_are_allowed_and_not_ones_own(
    seed: int, allowed: set[int], leave_out: str, k: int
) -> None:
    interactions, view = _data(seed)
    items = np.array(sorted(allowed))
    recommender = Recommender(view, interactions, items, leave_out, chunk_users=3)
    rows = pl.concat(recommender.blocks(np.arange(_USERS), k))
    parts = {"all": ["train", "valid", "test"], "train": ["train"], "none": []}[leave_out]
    expected = _by_loop(interactions, view, allowed, parts, k)
    for user, best in expected.items():
        mine = rows.filter(user_id=user)
        assert mine["item_id"].to_list() == best
        assert mine["rank"].to_list() == list(range(1, len(best) + 1))
        scores = (view.users[int(user[1:])] @ view.items.T)[[int(i[1:]) for i in best]]
        np.testing.assert_allclose(mine["score"].to_numpy(), scores.numpy(), rtol=1e-5)


def test_many_users_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    interactions, view = _data()
    users = np.array([6, 0, 3])
    whole = pl.concat(Recommender(view, interactions).blocks(users, 2))
    monkeypatch.setattr(recommend, "_BLOCK", 2)
    blocks = list(Recommender(view, interactions).blocks(users, 2))
    assert [block["user_id"].unique(maintain_order=True).to_list() for block in blocks] == [
        ["u6", "u0"],
        ["u3"],
    ]
    assert pl.concat(blocks).equals(whole)


def test_users_are_looked_up_once_and_unknown_ones_named() -> None:
    interactions, _ = _data()
    chosen = known_users(interactions, ["u3", "x", "u1", "u3"])
    assert chosen.users.tolist() == [3, 1]
    assert chosen.unknown == ["x"]
    assert "1 ids" in chosen.lines()[0]
    assert known_users(interactions, None).users.tolist() == list(range(_USERS))
    with pytest.raises(DataError, match="none of the 2 ids"):
        known_users(interactions, ["x", "y"])


def test_users_of_a_run_with_hashed_ids_are_named_by_their_own(tmp_path: Path) -> None:
    interactions, _ = _data()
    secret = b"a secret of length"
    hidden = Interactions(
        hashed(interactions.user_ids, secret),
        interactions.item_ids,
        interactions.train,
        interactions.valid,
        interactions.test,
    )
    assert known_users(hidden, ["u2"], secret).users.tolist() == [2]
    with pytest.raises(DataError):
        known_users(hidden, ["u2"])


@pytest.mark.parametrize("name", ["ids.txt", "ids.csv", "ids.parquet"])
def test_ids_are_read_from_any_form(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frame = pl.DataFrame({"x": [1, 2], "user_id": ["007", "u1"]})
    if name.endswith("txt"):
        path.write_text("007\n\n u1 \n")
    elif name.endswith("csv"):
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    assert read_ids(path) == ["007", "u1"]


@pytest.mark.parametrize("name", ["none.txt", "none.csv", "none.parquet", "bad.csv"])
def test_a_file_without_ids_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=name):
        read_ids(tmp_path / name)


def test_conditions_on_items() -> None:
    texts = ItemTexts(
        pl.DataFrame(
            {
                "title": ["Red car", "blue CAR", "Doll"],
                "brand": ["LEGO", "LEGO City", "x=~y"],
                "categories": ["a", "a", "b"],
                "description": ["", "", ""],
            }
        )
    )
    assert allowed_items(texts, []) is None
    assert allowed_items(texts, ["brand=LEGO"]).tolist() == [0]
    assert allowed_items(texts, ["brand~lego"]).tolist() == [0, 1]
    assert allowed_items(texts, ["title~car", "brand=LEGO City"]).tolist() == [1]
    assert allowed_items(texts, ["brand=x=~y"]).tolist() == [2]
    with pytest.raises(ConfigError, match="no item meets"):
        allowed_items(texts, ["brand=lego"])
    for wrong in ("brand", "price=3", "=a"):
        with pytest.raises(ConfigError, match="FIELD=TEXT"):
            allowed_items(texts, [wrong])


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl", "r"])
def test_what_is_written_is_what_was_made(tmp_path: Path, name: str) -> None:
    frames = [pl.DataFrame({"a": [1, 2], "b": ["x", 'y"']}), pl.DataFrame({"a": [3], "b": [""]})]
    path = tmp_path / name
    assert write_frames(iter(frames), path) == 3
    read = {"r.csv": pl.read_csv, "r.jsonl": pl.read_ndjson, "r": pl.read_parquet}[name]
    source = path / "part-*.parquet" if name == "r" else path
    again = read(source).with_columns(pl.col("b").fill_null(""))
    assert again.equals(pl.concat(frames))
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["r.csv", "r"])
def test_an_interruption_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_frames([pl.DataFrame({"a": [1]})], path)

    def broken():
        yield pl.DataFrame({"a": [2]})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_frames(broken(), path)
    assert [one.name for one in tmp_path.iterdir()] == [name]
    source = path / "part-00000.parquet" if name == "r" else path
    assert (pl.read_csv(source) if name == "r.csv" else pl.read_parquet(source))["a"].item() == 1


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    for path in (tmp_path, tmp_path / "r.xlsx"):
        with pytest.raises(ConfigError):
            write_frames([pl.DataFrame({"a": [1]})], path)
    assert (tmp_path / "mine.txt").exists()
