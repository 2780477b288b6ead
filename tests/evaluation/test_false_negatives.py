import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from hnlmrec.evaluation import fhns_rate, nearest_uninteracted
from hnlmrec.negatives import Uninteracted


def csr(dense):
    return sp.csr_array(np.asarray(dense, dtype=np.float32))


TRAIN = csr([[1, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
HELD_OUT = csr([[0, 1, 1, 0, 0], [0, 0, 0, 1, 0]])


def test_rate_by_hand():
    rate = fhns_rate(np.array([[1, 3], [2, 1], [4, 3]]), np.array([0, 0, 1]), HELD_OUT, TRAIN)
    assert (rate.false, rate.total) == (4, 6)
    # user 0: 2 of 4 un-interacted items are held out, user 1: 1 of 2
    assert rate.expected == pytest.approx((2 / 4 + 2 / 4 + 1 / 2) / 3)
    assert rate.share == pytest.approx(4 / 6)
    assert rate.ratio == pytest.approx((4 / 6) / 0.5)


def test_missing_negatives_are_not_counted():
    rate = fhns_rate(
        np.array([[1], [-1]]), np.array([0, 1]), csr([[0, 1, 1, 0, 0], [0] * 5]), TRAIN
    )
    assert (rate.false, rate.total) == (1, 1)
    assert rate.expected == pytest.approx(0.5)  # of user 0 alone


def test_without_held_out_items_there_is_no_ratio():
    rate = fhns_rate(np.array([[1]]), np.array([0]), csr(np.zeros((2, 5))), TRAIN)
    assert rate.share == rate.expected == 0
    assert math.isnan(rate.ratio)


def test_a_uniform_sampler_is_at_chance():
    rng = np.random.default_rng(0)
    parts = rng.choice(3, size=(40, 60), p=[0.6, 0.2, 0.2])
    train, held_out = csr(parts == 1), csr(parts == 2)
    users = np.repeat(np.arange(40), 20)
    generator = torch.Generator().manual_seed(0)
    drawn = Uninteracted(train).sample(torch.from_numpy(users), 100, generator)
    rate = fhns_rate(drawn.numpy(), users, held_out, train)
    # 80,000 draws: a standard error of .0015 of a share near .25
    assert rate.ratio == pytest.approx(1, abs=0.025)


def test_nearest_by_cosine_not_by_inner_product():
    items = torch.tensor([[1.0, 0.0], [10.0, 10.0], [0.9, 0.1], [0.0, 3.0]])
    synthesised = torch.tensor([[2.0, 0.0], [2.0, 0.0], [-0.1, 0.1]])
    train = csr([[0, 0, 0, 0], [1, 0, 0, 0]])
    found = nearest_uninteracted(synthesised, np.array([0, 1, 1]), items, train, k=2)
    assert found.tolist() == [[0, 2], [2, 1], [3, 1]]
    assert found.dtype == np.int64


def test_nearest_against_a_loop():
    generator = torch.Generator().manual_seed(5)
    items, queries = (torch.randn(n, 4, generator=generator) for n in (25, 30))
    train = csr(np.random.default_rng(2).random((6, 25)) < 0.3)
    users = np.arange(30) % 6
    found = nearest_uninteracted(queries, users, items, train, k=1, chunk=7)[:, 0]
    free = train.toarray() == 0
    for query, user, item in zip(queries, users, found, strict=True):
        cosines = torch.cosine_similarity(query, items).numpy()
        assert free[user, item]
        assert cosines[item] == cosines[free[user]].max()


def test_a_user_without_enough_items_gets_nothing():
    train = csr([[1, 1, 0]])
    found = nearest_uninteracted(torch.ones(1, 2), np.array([0]), torch.ones(3, 2), train, k=2)
    assert found.tolist() == [[2, -1]]
