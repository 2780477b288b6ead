from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.data.interactions import SPLITS, Interactions, ItemTexts, to_csr
from hnlmrec.errors import ArtifactError

IDS = ["plain", "with space", 'with "quotes"', "two\nlines", "тест", "用户", " ", "a,b\tc"]


def small() -> Interactions:
    users = np.array([0, 0, 0, 1, 7, 7], dtype=np.int32)
    items = np.array([3, 1, 0, 2, 5, 4], dtype=np.int32)
    split = np.array([0, 0, 2, 0, 0, 1], dtype=np.int8)
    return Interactions.from_pairs(pl.Series(IDS), pl.Series(reversed(IDS)), users, items, split)


def test_parts_hold_the_pairs_sorted():
    data = small()
    assert (data.n_users, data.n_items) == (8, 8)
    users, items = data.pairs("train")
    assert users.dtype == items.dtype == np.int32
    assert list(zip(users, items, strict=True)) == [(0, 1), (0, 3), (1, 2), (7, 5)]
    assert [data.part(part).nnz for part in SPLITS] == [4, 1, 1]
    assert data.test[0, 0] == 1.0
    assert data.valid[7, 4] == 1.0


def test_interactions_round_trip(tmp_path):
    data = small()
    data.save(tmp_path)
    again = Interactions.load(tmp_path)
    assert again.user_ids.to_list() == IDS
    assert again.item_ids.to_list() == IDS[::-1]
    for part in SPLITS:
        np.testing.assert_array_equal(again.part(part).toarray(), data.part(part).toarray())
        assert again.part(part).dtype == np.float32


def test_numeric_ids_become_strings():
    one = np.zeros(1, dtype=np.int32)
    data = Interactions.from_pairs(pl.Series([17]), pl.Series([4]), one, one, one)
    assert data.user_ids.to_list() == ["17"]
    assert data.item_ids.to_list() == ["4"]


def test_missing_interactions_say_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="hnlmrec prepare"):
        Interactions.load(tmp_path)


def test_damaged_interactions_say_what_to_do(tmp_path):
    small().save(tmp_path)
    (tmp_path / "interactions.parquet").write_bytes(b"not parquet")
    with pytest.raises(ArtifactError, match="cannot be read"):
        Interactions.load(tmp_path)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6))))
def test_csr_holds_each_pair_once(pairs):
    users, items = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    matrix = to_csr(users, items, (6, 7))
    assert isinstance(matrix, sp.csr_array)
    expected = np.zeros((6, 7), dtype=np.float32)
    expected[users, items] = 1.0
    np.testing.assert_array_equal(matrix.toarray(), expected)
    assert matrix.nnz == len(set(pairs))
    assert matrix.has_sorted_indices


def texts() -> ItemTexts:
    return ItemTexts(
        pl.DataFrame(
            {
                "title": ["Kolya", "", "", ""],
                "brand": ["", "Lego", "", ""],
                "categories": ["Comedy", "Toys", "Toys", ""],
                "description": ["", "", "", "only this"],
            }
        )
    )


def test_item_texts_round_trip(tmp_path):
    texts().save(tmp_path)
    again = ItemTexts.load(tmp_path)
    assert len(again) == 4
    assert again.frame.equals(texts().frame)


def test_titles_fall_back_on_other_text():
    assert texts().titles() == ["Kolya", "Lego Toys", "Toys", "(no text)"]


def test_missing_item_texts_say_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="hnlmrec prepare"):
        ItemTexts.load(tmp_path)
