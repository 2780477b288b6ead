"""How far false hard negatives turn the gradient."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from hnlmrec.evaluation.gradient_bias import GradientBias, without_false
from hnlmrec.losses.pairwise import Bpr
from hnlmrec.negatives import EmbeddingView, Negatives, PairBatch

N_USERS, N_ITEMS, DIM = 4, 6, 3
HELD_OUT = sp.csr_array(([1, 1, 1], ([0, 1, 3], [2, 5, 0])), shape=(N_USERS, N_ITEMS))
USERS, POSITIVES = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 0, 3, 4])
BATCH = PairBatch(USERS, POSITIVES, torch.arange(4))


def view() -> EmbeddingView:
    generator = torch.Generator().manual_seed(0)
    return EmbeddingView(
        torch.randn(N_USERS, DIM, generator=generator),
        torch.randn(N_ITEMS, DIM, generator=generator),
    )


def by_hand(model: EmbeddingView, items: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Gradient of the mean of BPR over pairs, each the mean over the negatives that are kept."""
    users, table = model.users.double().numpy(), model.items.double().numpy()
    by_user, by_item = np.zeros_like(users), np.zeros_like(table)
    for pair, (user, positive) in enumerate(zip(USERS.numpy(), POSITIVES.numpy(), strict=True)):
        for negative, counts in zip(items[pair], kept[pair], strict=True):
            if not counts:
                continue
            difference = table[negative] - table[positive]
            slope = 1 / (1 + np.exp(-users[user] @ difference)) / kept[pair].sum() / len(USERS)
            by_user[user] += slope * difference
            by_item[negative] += slope * users[user]
            by_item[positive] -= slope * users[user]
    return np.concatenate([by_user.ravel(), by_item.ravel()])


ITEMS = np.array([[2, 4], [3, 5], [0, 1], [0, 0]])
POOL = np.array([[2, 5, 0]])


@pytest.mark.parametrize("items", [ITEMS, POOL], ids=["each its own", "a pool"])
def test_the_bias_is_that_of_gradients_by_hand(items: np.ndarray) -> None:
    negatives = Negatives(torch.from_numpy(items))
    oracle = without_false(negatives, items, None, USERS.numpy(), HELD_OUT)
    rows = np.broadcast_to(items, (4, items.shape[1]))
    false = HELD_OUT.toarray()[USERS.numpy()[:, None], rows] > 0
    assert 0 < false.sum() < false.size
    assert oracle.weights is not None
    assert np.array_equal(oracle.weights.numpy() > 0, ~false)
    bias = GradientBias(view(), Bpr())
    bias.add(BATCH, negatives, oracle)
    ours = by_hand(view(), rows, np.ones_like(false))
    theirs = by_hand(view(), rows, ~false)
    measures = bias.measures()
    cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
    assert measures["cosine"] == pytest.approx(cosine, rel=1e-5)
    length = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    assert measures["relative_l2"] == pytest.approx(length, rel=1e-5)


def test_without_false_negatives_there_is_no_bias() -> None:
    items = np.array([[4], [3], [1], [2]])
    negatives = Negatives(torch.from_numpy(items))
    bias = GradientBias(view(), Bpr())
    for _ in range(2):
        bias.add(BATCH, negatives, without_false(negatives, items, None, USERS.numpy(), HELD_OUT))
    assert bias.measures() == {"cosine": pytest.approx(1), "relative_l2": pytest.approx(0)}


def test_a_false_synthesised_negative_is_taken_out_too() -> None:
    base, synthesised = np.array([[4], [3], [1], [2]]), np.array([[2], [4], [1], [0]])
    negatives = Negatives(
        torch.from_numpy(base),
        synthesised=torch.randn(4, 1, DIM, generator=torch.Generator().manual_seed(1)),
        present=torch.tensor([[True], [True], [False], [True]]),
        lengths=torch.ones(1, 1),
        extra=2.0,
    )
    oracle = without_false(negatives, base, synthesised, USERS.numpy(), HELD_OUT)
    assert oracle.present is not None
    # of users 0 and 3 the synthesised item is held out
    assert oracle.present[:, 0].tolist() == [False, True, False, False]
    bias = GradientBias(view(), Bpr())
    bias.add(BATCH, negatives, oracle)
    assert bias.measures()["relative_l2"] > 0.01
