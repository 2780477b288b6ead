import numpy as np
import pytest
import torch
from graph_cases import (
    DIM,
    N_NODES,
    dense_adjacency,
    directional_derivative,
    parameter,
    seeded,
    small_train,
    unit,
    whole,
)

from hnlmrec.backbones import NGCF, MatrixFactorisation

DROPOUT = 0.3


@pytest.fixture
def train():
    return small_train()


def node_layer(node, x, adjacency, of_sum, of_product):
    """Messages of the node itself and of its neighbours, one at a time, and LeakyReLU."""
    total = x[node] @ of_sum
    for other in range(N_NODES):
        if adjacency[node, other]:
            message = x[other] @ of_sum + (x[other] * x[node]) @ of_product
            total = total + adjacency[node, other] * message
    return np.array([value if value > 0 else 0.2 * value for value in total])


def slow_ngcf(train, table, weights, generator=None):
    """Layers 0 to L as they are concatenated."""
    adjacency = dense_adjacency(train.toarray())
    layers, x = [table], table
    for of_sum, of_product in zip(*weights, strict=True):
        x = np.stack([node_layer(n, x, adjacency, of_sum, of_product) for n in range(N_NODES)])
        if generator is not None:
            drawn = torch.rand(x.shape, generator=generator).numpy()
            x = np.where(drawn >= DROPOUT, x / (1 - DROPOUT), 0.0)
        layers.append(np.stack([unit(row) for row in x]))
    return layers


def weights_of(model):
    return parameter(model.sum_weights), parameter(model.product_weights)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_forward_against_messages(train, layers, training):
    model = NGCF(train, DIM, layers, DROPOUT, seeded())
    replayed = seeded(7) if training else None
    expected = slow_ngcf(train, parameter(model.table), weights_of(model), replayed)
    view = model.embeddings(seeded(7) if training else None, layers=True)
    np.testing.assert_allclose(whole(view), np.hstack(expected), rtol=1e-3, atol=1e-5)
    for got, layer in zip(view.layers, expected, strict=True):
        np.testing.assert_allclose(whole(got), layer, rtol=1e-3, atol=1e-5)


def test_gradients_against_differences(train):
    model = NGCF(train, DIM, 2, DROPOUT, seeded())
    incoming = np.random.default_rng(2).normal(size=(N_NODES, model.width))
    view = model.embeddings(seeded(7))
    (view.table * torch.from_numpy(incoming).float()).sum().backward()
    values = {name: parameter(value) for name, value in model.named_parameters()}
    for name, value in model.named_parameters():
        direction = np.random.default_rng(3).normal(size=value.shape)

        def loss_at(at, name=name):
            now = values | {name: at}
            weights = now["sum_weights"], now["product_weights"]
            layers = slow_ngcf(train, now["table"], weights, seeded(7))
            return (np.hstack(layers) * incoming).sum()

        expected = directional_derivative(loss_at, values[name], direction)
        got = (value.grad.numpy() * direction).sum()
        assert got == pytest.approx(expected, rel=1e-3), name


def test_layer_0_is_concatenated_as_it_is_and_the_others_at_unit_length(train):
    model = NGCF(train, DIM, 2, 0.0, seeded())
    first, *others = (torch.from_numpy(whole(x)) for x in model.embeddings(layers=True).layers)
    assert torch.equal(first, model.table)
    for layer in others:
        torch.testing.assert_close(layer.norm(dim=1), torch.ones(N_NODES))


def test_without_layers_it_is_matrix_factorisation(train):
    ngcf = NGCF(train, DIM, 0, DROPOUT, seeded())
    view = ngcf.embeddings(seeded(1))
    model = MatrixFactorisation(train.shape, DIM, seeded())
    model.load_state_dict({"table": ngcf.table})
    factors = model.embeddings()
    assert torch.equal(view.users, factors.users)
    assert torch.equal(view.items, factors.items)


def test_dropout_keeps_the_expected_value(train):
    model = NGCF(train, DIM, 1, DROPOUT, seeded())
    x = torch.ones(200, 200)
    dropped = model._dropped(x, seeded())
    assert (dropped == 0).float().mean().item() == pytest.approx(DROPOUT, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_weights_begin_as_xaviers(train):
    dim = 64
    bound = (6 / (dim + dim)) ** 0.5
    for weights in weights_of(NGCF(train, dim, 3, DROPOUT, seeded())):
        assert weights.shape == (3, dim, dim)
        assert abs(weights).max() <= bound
        assert weights.std() == pytest.approx(bound / 3**0.5, rel=0.02)
        assert weights.mean() == pytest.approx(0, abs=0.01)
