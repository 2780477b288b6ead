import numpy as np
import pytest
import torch
from graph_cases import (
    DIM,
    N_USERS,
    dense_adjacency,
    directional_derivative,
    parameter,
    seeded,
    slow_contrast,
    slow_layers,
    small_train,
    some_pairs,
    whole,
)

from hnlmrec.backbones import SimGCL
from hnlmrec.backbones.contrast import Contrast

NOISE = 0.05
CONTRAST = Contrast(0.7, 0.25)


@pytest.fixture
def train():
    return small_train()


def simgcl(train, layers, noise=NOISE):
    return SimGCL(train, DIM, layers, noise, CONTRAST, seeded())


def slow_loss(train, table, layers, batch, generator):
    """Two whole noisy passes, one after the other."""
    adjacency = dense_adjacency(train.toarray())
    views = [
        np.mean(slow_layers(adjacency, table, layers, NOISE, generator), axis=0) for _ in range(2)
    ]
    return slow_contrast(*views, batch, CONTRAST.weight, CONTRAST.temperature)


@pytest.mark.parametrize("generator", [None, seeded(5)])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_what_scores_is_the_mean_of_layers_1_to_l_without_noise(train, layers, generator):
    model = simgcl(train, layers)
    expected = slow_layers(dense_adjacency(train.toarray()), parameter(model.table), layers)
    for with_layers in (False, True):
        view = model.embeddings(generator, layers=with_layers)
        np.testing.assert_allclose(whole(view), np.mean(expected, axis=0), rtol=1e-4, atol=1e-7)
    for got, layer in zip(view.layers, expected, strict=True):
        np.testing.assert_allclose(whole(got), layer, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_auxiliary_against_two_noisy_passes(train, layers):
    model, batch = simgcl(train, layers), some_pairs(train)
    got = model.auxiliary(batch, model.embeddings(seeded(1)), seeded(7))
    expected = slow_loss(train, parameter(model.table), layers, batch, seeded(7))
    assert got.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_gradient_of_auxiliary_against_differences(train, layers):
    model, batch = simgcl(train, layers), some_pairs(train)
    model.auxiliary(batch, model.embeddings(seeded(1)), seeded(7)).backward()
    direction = np.random.default_rng(3).normal(size=model.table.shape)
    expected = directional_derivative(
        lambda table: slow_loss(train, table, layers, batch, seeded(7)),
        parameter(model.table),
        direction,
    )
    got = (model.table.grad.numpy() * direction).sum()
    assert got == pytest.approx(expected, rel=1e-3)


def test_a_view_at_unit_length_has_the_same_auxiliary(train):
    model, batch = simgcl(train, 2), some_pairs(train)
    view = model.embeddings(seeded(1))
    raw, unit = (model.auxiliary(batch, v, seeded(7)) for v in (view, view.normalised()))
    assert torch.equal(raw, unit)


def test_noise_has_its_length_and_the_signs_of_the_row(train):
    model = simgcl(train, 2, noise=0.3)
    layer = torch.randn(50, DIM, generator=seeded(2))
    noise = model.noise_on(layer, seeded(3))
    torch.testing.assert_close(noise.norm(dim=1), torch.full((50,), 0.3))
    assert torch.equal(noise.sign(), layer.sign())


def test_nodes_without_edges_are_zero_and_get_no_noise(train):
    model = simgcl(train, 2)
    view = model.embeddings(seeded(1))
    layers = [layer.table for layer in view.layers]
    moved = model._deviation(layers, seeded(7))
    for node in (5, N_USERS + 8):
        assert (view.table[node] == 0).all()
        assert (moved[node] == 0).all()
