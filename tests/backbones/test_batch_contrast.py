import math

import pytest
import torch
from graph_cases import DIM, N_NODES, N_USERS, parameter, seeded, slow_contrast
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.backbones.contrast import BatchNodes, Contrast
from hnlmrec.negatives.protocol import PairBatch

users = st.lists(st.integers(0, N_USERS - 1), min_size=1, max_size=12)
temperatures = st.floats(0.1, 2)


def pairs(chosen):
    index = torch.arange(len(chosen))
    return PairBatch(torch.tensor(chosen), torch.tensor(chosen[::-1]), index)


def test_nodes_are_the_distinct_users_then_the_distinct_positives():
    batch = PairBatch(torch.tensor([4, 1, 4]), torch.tensor([2, 2, 0]), torch.arange(3))
    nodes = BatchNodes.of(batch, 6)
    assert nodes.rows.tolist() == [1, 4, 6, 8]
    assert nodes.n_users == 2


@given(users, temperatures)
def test_loss_against_loops(chosen, temperature):
    batch = pairs(chosen)
    first, second = torch.randn(2, N_NODES, DIM, generator=seeded(1))
    nodes = BatchNodes.of(batch, N_USERS)
    got = Contrast(0.3, temperature).loss(nodes, first[nodes.rows], second[nodes.rows])
    expected = slow_contrast(parameter(first), parameter(second), batch, 0.3, temperature)
    assert got.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@given(users)
def test_pairs_that_come_again_change_nothing(chosen):
    once, twice = (BatchNodes.of(pairs(some), N_USERS) for some in (chosen, chosen * 2))
    assert torch.equal(once.rows, twice.rows)


def test_views_that_cannot_be_told_apart_cost_the_logarithm_of_the_nodes():
    batch = pairs([0, 1, 2, 3])
    nodes = BatchNodes.of(batch, N_USERS)
    same = torch.ones(8, DIM)
    assert Contrast(1.0, 0.2).loss(nodes, same, same).item() == pytest.approx(2 * math.log(4))


def test_a_view_that_is_zero_is_finite_with_its_gradient():
    nodes = BatchNodes.of(pairs([0, 1, 2]), N_USERS)
    view = torch.zeros(6, DIM, requires_grad=True)
    loss = Contrast(1.0, 0.2).loss(nodes, view, torch.ones(6, DIM))
    loss.backward()
    assert loss.isfinite()
    assert view.grad.isfinite().all()
