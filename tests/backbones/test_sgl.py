import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graph_cases import (
    DIM,
    dense_adjacency,
    directional_derivative,
    parameter,
    seeded,
    slow_contrast,
    small_train,
    some_pairs,
)
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.backbones import SGL, LightGCN
from hnlmrec.backbones.contrast import Contrast
from hnlmrec.backbones.graph import normalised_adjacency
from hnlmrec.backbones.sgl import EdgeDropout

DROPOUT, LAYERS = 0.3, 2
CONTRAST = Contrast(0.7, 0.25)


@pytest.fixture
def train():
    return small_train()


def sgl(train, contrast=CONTRAST, dropout=DROPOUT):
    return SGL(train, DIM, LAYERS, dropout, contrast, seeded())


def slow_dropped(train, share, generator):
    """The dense graph that lacks interactions, by user then item, by replayed numbers."""
    interacted = train.toarray().copy()
    pairs = list(zip(*np.nonzero(interacted), strict=True))
    drawn = torch.rand(len(pairs), generator=generator).tolist()
    for (user, item), number in zip(pairs, drawn, strict=True):
        if number < share:
            interacted[user, item] = 0
    return dense_adjacency(interacted)


def slow_mean(adjacency, table):
    powers = [np.linalg.matrix_power(adjacency, layer) for layer in range(LAYERS + 1)]
    return sum(powers) @ table / len(powers)


def slow_loss(train, table, batch, generator):
    views = [slow_mean(slow_dropped(train, DROPOUT, generator), table) for _ in range(2)]
    return slow_contrast(*views, batch, CONTRAST.weight, CONTRAST.temperature)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.95))
def test_dropped_graphs_against_loops(seed, share):
    train = small_train()
    dropped = EdgeDropout(normalised_adjacency(train), share).draw(seeded(seed)).to_dense().numpy()
    np.testing.assert_allclose(dropped, slow_dropped(train, share, seeded(seed)), rtol=1e-5)
    assert (dropped == dropped.T).all()


def test_the_share_of_interactions_that_is_left_out():
    train = sp.random_array((300, 400), density=0.2, rng=np.random.default_rng(0), format="csr")
    train.data[:] = 1
    dropped = EdgeDropout(normalised_adjacency(train), 0.3).draw(seeded())
    assert (dropped.values == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)


def test_nothing_left_out_is_the_whole_graph(train):
    graph = normalised_adjacency(train)
    torch.testing.assert_close(EdgeDropout(graph, 0.0).draw(seeded()).values, graph.values)


def test_auxiliary_against_loops(train):
    model, batch = sgl(train), some_pairs(train)
    got = model.auxiliary(batch, model.embeddings(seeded(7)), seeded(7))
    expected = slow_loss(train, parameter(model.table), batch, seeded(7))
    assert got.item() == pytest.approx(expected, rel=1e-4)


def test_gradient_of_auxiliary_against_differences(train):
    model, batch = sgl(train), some_pairs(train)
    model.auxiliary(batch, model.embeddings(seeded(7)), seeded(7)).backward()
    direction = np.random.default_rng(3).normal(size=model.table.shape)
    expected = directional_derivative(
        lambda table: slow_loss(train, table, batch, seeded(7)), parameter(model.table), direction
    )
    got = (model.table.grad.numpy() * direction).sum()
    assert got == pytest.approx(expected, rel=1e-3)


def test_what_scores_is_lightgcn_in_training_too(train):
    model, plain = sgl(train), LightGCN(train, DIM, LAYERS, seeded())
    assert torch.equal(model.embeddings(seeded(3)).table, plain.embeddings().table)


def test_graphs_stay_within_an_epoch_and_change_with_it(train):
    model, generator = sgl(train), seeded(7)

    def loss(epoch):
        batch = some_pairs(train, epoch)
        return model.auxiliary(batch, model.embeddings(generator), generator).item()

    first, state = loss(1), generator.get_state()
    assert loss(1) == first
    assert torch.equal(generator.get_state(), state)
    assert loss(2) != first
    assert not torch.equal(generator.get_state(), state)


def test_the_same_epoch_with_another_generator_has_other_graphs(train):
    model, batch = sgl(train), some_pairs(train)
    one, other, same = (
        model.auxiliary(batch, model.embeddings(), seeded(seed)).item() for seed in (1, 2, 1)
    )
    assert one != other
    assert one == same


def test_views_of_the_whole_graph_agree(train):
    model, batch = sgl(train, dropout=0.0), some_pairs(train)
    got = model.auxiliary(batch, model.embeddings(), seeded(7)).item()
    view = slow_mean(dense_adjacency(train.toarray()), parameter(model.table))
    assert got == pytest.approx(slow_contrast(view, view, batch, 0.7, 0.25), rel=1e-4)
