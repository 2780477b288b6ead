import numpy as np
import pytest
import scipy.sparse as sp
import torch
from graph_cases import DIM, N_USERS, dense_adjacency, seeded, small_train, whole

from hnlmrec.backbones import LightGCN, MatrixFactorisation
from hnlmrec.backbones.graph import normalised_adjacency


@pytest.fixture
def train():
    return small_train()


def dense_operator(train, layers):
    """The matrix of LightGCN's propagation: the mean of the powers of the adjacency."""
    adjacency = dense_adjacency(train.toarray())
    return sum(np.linalg.matrix_power(adjacency, layer) for layer in range(layers + 1)) / (
        layers + 1
    )


def test_adjacency(train):
    adjacency = normalised_adjacency(train)
    assert adjacency.values.dtype == torch.float32
    np.testing.assert_allclose(
        adjacency.to_dense().numpy(), dense_adjacency(train.toarray()), rtol=1e-6
    )


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_forward_against_dense(train, layers):
    model = LightGCN(train, DIM, layers, seeded())
    expected = dense_operator(train, layers) @ model.table.detach().numpy()
    np.testing.assert_allclose(whole(model.embeddings()), expected, rtol=1e-4, atol=1e-7)
    with_layers = model.embeddings(layers=True)
    np.testing.assert_allclose(whole(with_layers), expected, rtol=1e-4, atol=1e-7)


def test_each_layer_against_dense(train):
    model = LightGCN(train, DIM, 2, seeded())
    each = model.embeddings(layers=True).layers
    x = model.table.detach().numpy()
    for layer in each:
        np.testing.assert_allclose(whole(layer), x, rtol=1e-4, atol=1e-7)
        x = dense_adjacency(train.toarray()) @ x
    assert len(each) == 3


@pytest.mark.parametrize("with_layers", [False, True])
@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_gradient_against_dense(train, layers, with_layers):
    model = LightGCN(train, DIM, layers, seeded())
    incoming = torch.randn(model.table.shape, generator=seeded(1))
    view = model.embeddings(layers=with_layers)
    loss = (view.users * incoming[:N_USERS]).sum() + (view.items * incoming[N_USERS:]).sum()
    loss.backward()
    expected = dense_operator(train, layers).T @ incoming.numpy()
    np.testing.assert_allclose(model.table.grad, expected, rtol=1e-4, atol=1e-6)


def test_without_layers_it_is_matrix_factorisation(train):
    lightgcn = LightGCN(train, DIM, 0, seeded())
    factors = MatrixFactorisation(train.shape, DIM, seeded())
    factors.load_state_dict(lightgcn.state_dict())
    assert torch.equal(lightgcn.embeddings().users, factors.embeddings().users)
    assert torch.equal(lightgcn.embeddings().items, factors.embeddings().items)


def test_nodes_without_edges_keep_a_share_of_themselves(train):
    model = LightGCN(train, DIM, 2, seeded())
    torch.testing.assert_close(model.embeddings().users[5], model.table[5] / 3)
    torch.testing.assert_close(model.embeddings().items[8], model.table[N_USERS + 8] / 3)


def test_factors_begin_a_tenth_as_large(train):
    factors = MatrixFactorisation(train.shape, DIM, seeded())
    torch.testing.assert_close(factors.table, LightGCN(train, DIM, 0, seeded()).table / 10)


def test_initial_values_are_normal_with_deviation_a_tenth():
    train = sp.csr_array((300, 400), dtype=np.float32)
    table = LightGCN(train, 64, 1, seeded()).table.detach()
    assert table.mean() == pytest.approx(0, abs=0.002)
    assert table.std() == pytest.approx(0.1, abs=0.001)


def test_the_graph_is_not_in_a_checkpoint(train):
    assert list(LightGCN(train, DIM, 2, seeded()).state_dict()) == ["table"]
