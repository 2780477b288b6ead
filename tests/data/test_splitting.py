from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.config import SplitConfig
from hnlmrec.data.splitting import DROPPED, TEST, TRAIN, VALID, split, thinned
from hnlmrec.errors import DataError


def frame(users, times=None) -> pl.DataFrame:
    return pl.DataFrame(
        {"user_id": [str(user) for user in users], "timestamp": times or [None] * len(users)},
        schema={"user_id": pl.String, "timestamp": pl.Int64},
    )


def sizes(codes):
    return [int((codes == code).sum()) for code in (TRAIN, VALID, TEST)]


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [1, 0, 0]),
        (2, [1, 0, 1]),
        (3, [1, 1, 1]),
        (10, [8, 1, 1]),
        (14, [12, 1, 1]),
        (15, [11, 2, 2]),
        (100, [80, 10, 10]),
    ],
)
def test_ratio_sizes(n, expected):
    assert sizes(split(frame(["u"] * n), "none", SplitConfig())) == expected


def test_large_shares_leave_one_in_training():
    config = SplitConfig(valid=0.45, test=0.5)
    assert sizes(split(frame(["u"] * 3), "none", config)) == [1, 0, 2]


def test_ratio_draws_every_interaction_alike():
    users = np.repeat(np.arange(2000), 10)
    codes = split(frame(users), "none", SplitConfig()).reshape(2000, 10)
    tested = (codes == TEST).mean(axis=0)
    assert (np.abs(tested - 0.1) < 0.03).all()


def test_leave_one_out_takes_the_last_two():
    users = ["u", "v", "u", "w", "u", "v", "u"]
    codes = split(
        frame(users, [4, 1, 3, 9, 1, 2, 2]), "position", SplitConfig(method="leave_one_out")
    )
    assert codes.tolist() == [TEST, TRAIN, VALID, TRAIN, TRAIN, TEST, TRAIN]


def test_leave_one_out_breaks_ties_by_row():
    codes = split(frame("uuu", [5, 5, 5]), "seconds", SplitConfig(method="leave_one_out"))
    assert codes.tolist() == [TRAIN, VALID, TEST]


def test_time_takes_the_newest_of_all_and_drops_new_users():
    users = ["u", "v", "u", "v", "u", "w", "u", "v", "u", "u"]
    config = SplitConfig(method="time", valid=0.2, test=0.2)
    codes = split(frame(users, [1, 2, 3, 4, 5, 9, 6, 10, 7, 8]), "seconds", config)
    expected = [TRAIN] * 5 + [DROPPED, TRAIN, TEST, VALID, VALID]
    assert codes.tolist() == expected


def test_time_breaks_ties_by_row():
    config = SplitConfig(method="time", valid=0.25, test=0.25)
    codes = split(frame("uuuu", [5, 5, 5, 5]), "seconds", config)
    assert codes.tolist() == [TRAIN, TRAIN, VALID, TEST]


def test_one_interaction_is_training_even_by_time():
    codes = split(frame("u", [5]), "seconds", SplitConfig(method="time", test=0.6))
    assert codes.tolist() == [TRAIN]


@pytest.mark.parametrize(
    ("method", "clock", "times", "have"),
    [
        ("leave_one_out", "none", [None, None], "have none"),
        ("time", "none", [None, None], "have none"),
        ("time", "position", [0, 1], "only positions"),
        ("leave_one_out", "seconds", [0, None], "lack it for 1 interactions"),
    ],
)
def test_missing_times_are_explained(method, clock, times, have):
    with pytest.raises(DataError, match=rf"data\.split\.method: .*{method}.*{have}.*choose ratio"):
        split(frame("uv", times), clock, SplitConfig(method=method))


USERS = st.lists(st.integers(0, 5), min_size=1, max_size=60)
SHARES = st.sampled_from([0.05, 0.1, 0.3, 0.45])


@given(USERS, SHARES, SHARES, st.integers(0, 9))
def test_ratio_keeps_every_user_in_training(users, valid, test, seed):
    config = SplitConfig(valid=valid, test=test, seed=seed)
    data = frame(users)
    codes = split(data, "none", config)
    assert codes.dtype == np.int8
    assert sum(sizes(codes)) == len(users)
    for user in set(users):
        train, validation, tested = sizes(codes[np.array(users) == user])
        assert train >= 1
        assert (tested >= 1) == (users.count(user) >= 2)
        assert validation == 0 or tested >= 1
    np.testing.assert_array_equal(codes, split(data, "none", config))


def test_the_seed_matters():
    data = frame([0] * 50)
    first, second = (split(data, "none", SplitConfig(seed=seed)) for seed in (0, 1))
    assert (first != second).any()


TIMED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), min_size=1, max_size=60)


@given(TIMED)
def test_leave_one_out_respects_time(rows):
    users, times = (np.array(column) for column in zip(*rows, strict=True))
    codes = split(frame(users, times.tolist()), "seconds", SplitConfig(method="leave_one_out"))
    for user in np.unique(users):
        mine, when = codes[users == user], times[users == user]
        assert sizes(mine)[1:] == [int(len(mine) >= 3), int(len(mine) >= 2)]
        ordered = [when[mine == code] for code in (TRAIN, VALID, TEST) if (mine == code).any()]
        assert all(a.max() <= b.min() for a, b in pairwise(ordered))


@given(TIMED, SHARES, SHARES)
def test_time_respects_time_and_trains_every_user(rows, valid, test):
    users, times = (np.array(column) for column in zip(*rows, strict=True))
    config = SplitConfig(method="time", valid=valid, test=test)
    codes = split(frame(users, times.tolist()), "seconds", config)
    trained = set(users[codes == TRAIN])
    assert trained
    assert set(users[codes >= 0]) == trained
    assert trained.isdisjoint(users[codes == DROPPED])
    ordered = [times[codes == code] for code in (TRAIN, VALID, TEST) if (codes == code).any()]
    assert all(a.max() <= b.min() for a, b in pairwise(ordered))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 3))
def test_thinning_keeps_a_share_of_each_users_training_interactions(users, seed):
    users = np.sort(users)
    codes = split(frame(users), "none", SplitConfig(seed=seed))
    index = np.unique(users, return_inverse=True)[1].astype(np.int32)
    before = np.bincount(index, codes == TRAIN)
    larger = codes
    for share in (1.0, 0.7, 0.3, 0.01):
        thin = thinned(codes, index, SplitConfig(seed=seed, train_share=share))
        kept = np.bincount(index, thin == TRAIN, minlength=len(before))
        np.testing.assert_array_equal(kept, np.maximum(np.floor(before * share + 0.5), 1))
        # what is held out stays, and a smaller share is a part of a larger one
        np.testing.assert_array_equal(thin[codes != TRAIN], codes[codes != TRAIN])
        assert (larger[thin == TRAIN] == TRAIN).all()
        larger = thin


def test_thinning_is_at_random():
    users = np.zeros(1000, dtype=np.int32)
    codes = np.full(1000, TRAIN, dtype=np.int8)
    kept = [
        np.flatnonzero(thinned(codes, users, SplitConfig(seed=seed, train_share=0.5)) == TRAIN)
        for seed in (0, 1)
    ]
    assert abs(kept[0].mean() - 499.5) < 30
    assert 200 < len(np.intersect1d(*kept)) < 300
