from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.config import DataConfig
from hnlmrec.data.filtering import drop_repeats, filter_interactions, index_ids, k_core
from hnlmrec.data.readers import RawData
from hnlmrec.data.readers.protocol import INTERACTION_SCHEMA
from hnlmrec.data.readers.texts import no_items
from hnlmrec.errors import DataError


def raw(rows, clock="seconds") -> RawData:
    frame = pl.DataFrame(rows, schema=INTERACTION_SCHEMA, orient="row")
    return RawData(interactions=frame, items=no_items(), clock=clock)


def run(rows, clock="seconds", **settings):
    config = DataConfig(**{"core": 1, "min_rating": None, **settings})
    return filter_interactions(raw(rows, clock), config)


def pairs(frame):
    return frame.select("user_id", "item_id").rows()


ROWS = [
    ("u", "a", 5.0, 30),
    ("u", "b", 3.0, 10),
    ("v", "a", 4.0, 20),
    ("u", "a", 4.0, 5),
    ("w", "c", None, 40),
]


def test_nothing_to_drop_but_repeats():
    frame, steps, notes = run(ROWS)
    assert pairs(frame) == [("u", "b"), ("v", "a"), ("u", "a"), ("w", "c")]
    assert [step.name for step in steps] == ["read", "repeated pairs"]
    assert (steps[0].interactions, steps[0].users, steps[0].items) == (5, 3, 3)
    assert notes == []


def test_the_earliest_of_repeated_pairs_stays():
    kept = drop_repeats(raw(ROWS).interactions)
    assert kept.filter(user_id="u", item_id="a")["timestamp"].to_list() == [5]


def test_repeats_without_times_keep_the_first_row():
    rows = [("u", "a", 1.0, None), ("u", "a", 2.0, None), ("u", "a", 3.0, 7)]
    assert drop_repeats(raw(rows[:2]).interactions)["rating"].to_list() == [1.0]
    assert drop_repeats(raw(rows).interactions)["rating"].to_list() == [3.0]


def test_ratings_below_the_threshold_and_missing_ones_go():
    frame, steps, _ = run(ROWS, min_rating=4)
    assert pairs(frame) == [("v", "a"), ("u", "a")]
    rating = steps[1]
    assert rating.name == "rating >= 4"
    assert (rating.dropped_interactions, rating.dropped_users, rating.dropped_items) == (2, 1, 2)
    assert (rating.interactions, rating.users, rating.items) == (3, 2, 1)


def test_data_without_ratings_skip_the_threshold_and_say_so():
    frame, steps, notes = run([("u", "a", None, 1)], min_rating=4)
    assert frame.height == 1
    assert [step.name for step in steps] == ["read", "repeated pairs"]
    assert notes == ["the data have no ratings, so data.min_rating was not applied"]


DAY = 86_400


@pytest.mark.parametrize(
    ("since", "until", "kept"),
    [
        (date(1970, 1, 2), None, "bcd"),
        (None, date(1970, 1, 2), "abc"),
        (date(1970, 1, 2), date(1970, 1, 2), "bc"),
        (None, date.max, "abcd"),
    ],
)
def test_both_days_of_the_window_are_kept_in_utc(since, until, kept):
    times = {"a": DAY - 1, "b": DAY, "c": 2 * DAY - 1, "d": 2 * DAY, "e": None}
    rows = [("u", item, None, time) for item, time in times.items()]
    frame, _, _ = run(rows, since=since, until=until)
    assert frame["item_id"].to_list() == list(kept)


@pytest.mark.parametrize("clock", ["position", "none"])
def test_a_date_window_needs_timestamps(clock):
    with pytest.raises(DataError, match=r"data\.since and data\.until need timestamps"):
        run([("u", "a", None, 0)], clock=clock, since=date(2020, 1, 1))


def test_core_drops_until_stable():
    # without i3 (one user), u3 has one item only; without u3, i2 has one user only
    core = [("u1", "i1"), ("u1", "i4"), ("u2", "i1"), ("u2", "i4")]
    extra = [("u1", "i2"), ("u3", "i2"), ("u3", "i3")]
    frame, steps, _ = run([(*pair, None, None) for pair in core + extra], core=2)
    assert pairs(frame) == core
    assert steps[-1].name == "2-core"
    assert (steps[-1].dropped_interactions, steps[-1].dropped_users) == (3, 1)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"min_rating": 9.0}, "rating >= 9"),
        ({"since": date(2000, 1, 1)}, "dates 2000-01-01 to any"),
        ({"core": 3}, "3-core"),
    ],
)
def test_the_filter_that_leaves_nothing_is_named(settings, name):
    with pytest.raises(DataError, match=rf"passes the filter '{name}'.*lower data\.core"):
        run(ROWS, **settings)


def test_no_interactions_at_all():
    with pytest.raises(DataError, match="holds no interaction"):
        run([])


PAIRS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), unique=True)


def peel(pairs: set[tuple[int, int]], k: int) -> set[tuple[int, int]]:
    """Remove one pair of a too rare user or item after the other."""
    while True:
        users = [user for user, _ in pairs]
        items = [item for _, item in pairs]
        for user, item in pairs:
            if users.count(user) < k or items.count(item) < k:
                pairs = pairs - {(user, item)}
                break
        else:
            return pairs


@given(PAIRS, st.integers(1, 4))
def test_k_core_is_the_maximal_one(pairs, k):
    users, items = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    keep = k_core(users, items, k)
    assert set(zip(users[keep], items[keep], strict=True)) == peel(set(pairs), k)
    assert k_core(users[keep], items[keep], k).all()
    for kept in (users[keep], items[keep]):
        counts = np.bincount(kept)
        assert (counts[counts > 0] >= k).all()


@given(st.lists(st.text(max_size=3), min_size=1))
def test_index_round_trips_in_order_of_appearance(ids):
    unique, codes = index_ids(pl.Series(ids, dtype=pl.String))
    assert [unique[int(code)] for code in codes] == ids
    assert unique.to_list() == list(dict.fromkeys(ids))
    assert codes.dtype == np.int32
