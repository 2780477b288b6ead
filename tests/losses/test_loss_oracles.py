"""Every loss against its equation, written out pair by pair and negative by negative."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import cosines, some_weights

from hnlmrec.losses.pairwise import Bpr, Hinge
from hnlmrec.losses.pointwise import Bce, Ccl
from hnlmrec.losses.softmax import Bsl, Psl, Sl
from hnlmrec.losses.topk import SlAtK


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def mean_over(scores, weights, term):
    total = 0.0
    for score, weight in zip(scores, weights, strict=True):
        total += weight * term(score)
    return total / sum(weights)


def bpr(right, wrong, weights):
    return mean_over(wrong, weights, lambda s: -math.log(sigmoid(right - s)))


def hinge(right, wrong, weights):
    return mean_over(wrong, weights, lambda s: max(0.0, 0.7 - right + s))


def bce(right, wrong, weights):
    return -math.log(sigmoid(right)) - mean_over(wrong, weights, lambda s: math.log(1 - sigmoid(s)))


def ccl(right, wrong, weights):
    return (1 - right) + 3 * mean_over(wrong, weights, lambda s: max(0.0, s - 0.4))


def sl(right, wrong, weights, t=0.3):
    exponentials = [w * math.exp(s / t) for s, w in zip(wrong, weights, strict=True)]
    top = math.exp(right / t)
    return -math.log(top / (top + sum(exponentials)))


def bsl(right, wrong, weights):
    # as in the released code, its t1 = 0.3 and t2 = 1.2, divided by t2
    t1, t2 = 0.3, 1.2
    below = sum(w * math.exp(s / t1) for s, w in zip(wrong, weights, strict=True))
    return -math.log(math.exp(right / t1) / below**t2) / t2


def psl(right, wrong, weights, activation):
    total = 1.0
    for score, weight in zip(wrong, weights, strict=True):
        difference = (score - right) / 2
        total += weight * activation(difference) ** (1 / 0.15)
    return math.log(total)


def sl_at_k(right, wrong, weights):
    # 3 of 11 items: walk down from the best negative until 3/11 of the weight is passed
    best_first = sorted(zip(wrong, weights, strict=True), reverse=True)
    passed, threshold = 0.0, None
    for score, weight in best_first:
        passed += weight
        if passed >= 3 / 11 * sum(weights):
            threshold = score
            break
    return sigmoid((right - threshold) / 0.5) * sl(right, wrong, weights)


CASES = {
    "bpr": (Bpr(), bpr),
    "hinge": (Hinge(0.7), hinge),
    "bce": (Bce(), bce),
    "ccl": (Ccl(0.4, 3.0), ccl),
    "sl": (Sl(0.3), sl),
    "bsl": (Bsl(0.3, 0.36), bsl),
    "psl-tanh": (Psl("tanh", 0.15, 2.0), lambda *row: psl(*row, lambda d: 1 + math.tanh(d))),
    "psl-atan": (Psl("atan", 0.15, 2.0), lambda *row: psl(*row, lambda d: 1 + math.atan(d))),
    "psl-relu": (Psl("relu", 0.15, 2.0), lambda *row: psl(*row, lambda d: max(0.0, 1 + d))),
    "sl_at_k": (SlAtK(0.3, 3, 0.5, 11), sl_at_k),
}


@pytest.mark.parametrize("case", CASES)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 9999), st.booleans())
def test_against_the_equation(case, n_pairs, n_negatives, seed, weighted):
    loss, oracle = CASES[case]
    positive, negative = cosines(seed, n_pairs, n_negatives)
    weights = some_weights(seed + 1, n_pairs, n_negatives) if weighted else None
    counts = np.ones((n_pairs, n_negatives)) if weights is None else weights.numpy()
    rows = [
        oracle(right, list(wrong), list(count))
        for right, wrong, count in zip(positive.tolist(), negative.numpy(), counts, strict=True)
    ]
    assert loss(positive, negative, weights).item() == pytest.approx(np.mean(rows), rel=1e-9)
