import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hnlmrec.errors import DataError
from hnlmrec.negatives import Uninteracted


def csr(dense):
    return sp.csr_array(np.asarray(dense, dtype=np.float32))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(
    seed=st.integers(0, 10_000), n_users=st.integers(1, 8), n_items=st.integers(2, 25),
    density=st.sampled_from([0.0, 0.2, 0.8, 1.0]),
)  # fmt: skip
def test_draws_are_the_complement_of_training(seed, n_users, n_items, density):
    rng = np.random.default_rng(seed)
    interacted = rng.random((n_users, n_items)) < density
    interacted[np.arange(n_users), rng.integers(n_items, size=n_users)] = False
    pool = Uninteracted(csr(interacted))
    drawn = pool.sample(torch.arange(n_users), 800, seeded(seed)).numpy()
    for user in range(n_users):
        # 800 draws from at most 25 items: one is missed with a chance below 25 * (24/25)^800
        assert set(drawn[user]) == set(np.flatnonzero(~interacted[user]))


def test_draws_are_uniform():
    interacted = np.zeros((3, 40), dtype=bool)
    interacted[0, [0, 1, 2, 17, 39]] = True
    interacted[2, 5:35] = True
    drawn = Uninteracted(csr(interacted)).sample(torch.arange(3), 20_000, seeded()).numpy()
    for user in range(3):
        counts = np.bincount(drawn[user], minlength=40)[~interacted[user]]
        assert counts.sum() == 20_000
        assert stats.chisquare(counts).pvalue > 0.01


def test_users_and_their_draws_are_independent():
    pool = Uninteracted(csr(np.zeros((2, 10))))
    a, b = pool.sample(torch.arange(2), 5000, seeded()).numpy()
    assert (a == b).mean() == pytest.approx(0.1, abs=0.02)
    assert (a[1:] == a[:-1]).mean() == pytest.approx(0.1, abs=0.02)


def test_users_may_repeat_and_come_in_any_order():
    interacted = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
    drawn = Uninteracted(csr(interacted)).sample(torch.tensor([2, 0, 2, 1]), 3, seeded())
    assert drawn.tolist() == [[1] * 3, [2] * 3, [1] * 3, [0] * 3]
    assert drawn.dtype == torch.int64


def test_keys_do_not_overflow_32_bits():
    n_users, n_items = 70_000, 70_000  # the last key is 4.9e9
    train = sp.csr_array(
        (np.ones(2, np.float32), ([n_users - 1] * 2, [0, n_items - 1])), shape=(n_users, n_items)
    )
    pool = Uninteracted(train)
    users = torch.tensor([n_users - 1])
    drawn = pool.sample(users, 20_000, seeded())
    assert drawn.min() > 0
    assert n_items - 100 < drawn.max() < n_items - 1
    assert pool.contains(users, torch.tensor([0, n_items - 1, 7])).tolist() == [False, False, True]


def test_contains():
    pool = Uninteracted(csr([[1, 0, 1], [0, 0, 0]]))
    assert pool.contains(torch.tensor([[0], [1]]), torch.tensor([[0, 1, 2]])).tolist() == [
        [False, True, False],
        [True, True, True],
    ]


def test_a_user_of_every_item_is_refused():
    with pytest.raises(DataError, match=r"1 of 3 users .* all 2 items .* \(first: user 1\)"):
        Uninteracted(csr([[1, 0], [1, 1], [0, 0]]))
