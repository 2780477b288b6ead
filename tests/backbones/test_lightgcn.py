import numpy as np
import pytest
import scipy.sparse as sp
import torch

from hnlmrec.backbones import LightGCN, MatrixFactorisation
from hnlmrec.backbones.propagation import mean_of_layers, normalised_adjacency

N_USERS, N_ITEMS, DIM = 6, 9, 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def train():
    """User 5 and item 8 have no interaction."""
    interacted = np.random.default_rng(4).random((N_USERS, N_ITEMS)) < 0.4
    interacted[5], interacted[:, 8] = False, False
    return sp.csr_array(interacted.astype(np.float32))


def dense_adjacency(train):
    """D^-1/2 A D^-1/2, one edge at a time."""
    interacted = train.toarray()
    degree_u, degree_i = interacted.sum(axis=1), interacted.sum(axis=0)
    dense = np.zeros((N_USERS + N_ITEMS, N_USERS + N_ITEMS))
    for user, item in zip(*np.nonzero(interacted), strict=True):
        value = 1 / np.sqrt(degree_u[user] * degree_i[item])
        dense[user, N_USERS + item] = dense[N_USERS + item, user] = value
    return dense


def dense_operator(train, layers):
    """The matrix of LightGCN's propagation: the mean of the powers of the adjacency."""
    adjacency = dense_adjacency(train)
    return sum(np.linalg.matrix_power(adjacency, layer) for layer in range(layers + 1)) / (
        layers + 1
    )


def test_adjacency(train):
    adjacency = normalised_adjacency(train)
    assert adjacency.layout == torch.sparse_csr
    assert adjacency.dtype == torch.float32
    np.testing.assert_allclose(adjacency.to_dense().numpy(), dense_adjacency(train), rtol=1e-6)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_forward_against_dense(train, layers):
    model = LightGCN(train, DIM, layers, seeded())
    expected = dense_operator(train, layers) @ model.table.detach().numpy()
    view = model.embeddings()
    np.testing.assert_allclose(view.users.detach(), expected[:N_USERS], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(view.items.detach(), expected[N_USERS:], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_gradient_against_dense(train, layers):
    model = LightGCN(train, DIM, layers, seeded())
    incoming = torch.randn(N_USERS + N_ITEMS, DIM, generator=seeded(1))
    view = model.embeddings()
    loss = (view.users * incoming[:N_USERS]).sum() + (view.items * incoming[N_USERS:]).sum()
    loss.backward()
    expected = dense_operator(train, layers).T @ incoming.numpy()
    np.testing.assert_allclose(model.table.grad, expected, rtol=1e-4, atol=1e-6)


def test_propagation_passes_gradcheck(train):
    adjacency = normalised_adjacency(train).double()
    x = torch.randn(N_USERS + N_ITEMS, 2, generator=seeded(), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: mean_of_layers(x, adjacency, 2), x.requires_grad_())


def test_without_layers_it_is_matrix_factorisation(train):
    lightgcn = LightGCN(train, DIM, 0, seeded())
    factors = MatrixFactorisation(train.shape, DIM, seeded())
    assert torch.equal(lightgcn.embeddings().users, factors.embeddings().users)
    assert torch.equal(lightgcn.embeddings().items, factors.embeddings().items)


def test_nodes_without_edges_keep_a_share_of_themselves(train):
    model = LightGCN(train, DIM, 2, seeded())
    torch.testing.assert_close(model.embeddings().users[5], model.table[5] / 3)
    torch.testing.assert_close(model.embeddings().items[8], model.table[N_USERS + 8] / 3)


def test_initial_values_are_normal_with_deviation_a_tenth():
    train = sp.csr_array((300, 400), dtype=np.float32)
    table = LightGCN(train, 64, 1, seeded()).table.detach()
    assert table.mean() == pytest.approx(0, abs=0.002)
    assert table.std() == pytest.approx(0.1, abs=0.001)


def test_the_graph_is_not_in_a_checkpoint(train):
    assert list(LightGCN(train, DIM, 2, seeded()).state_dict()) == ["table"]
