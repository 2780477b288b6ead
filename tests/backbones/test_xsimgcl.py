import numpy as np
import pytest
from graph_cases import (
    DIM,
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

from hnlmrec.backbones import SimGCL, XSimGCL
from hnlmrec.backbones.contrast import Contrast

NOISE = 0.05
CONTRAST = Contrast(0.7, 0.25)


@pytest.fixture
def train():
    return small_train()


def xsimgcl(train, layers, contrastive_layer=1):
    return XSimGCL(train, DIM, layers, NOISE, contrastive_layer, CONTRAST, seeded())


def slow_loss(train, table, layers, contrastive_layer, batch, generator):
    each = slow_layers(dense_adjacency(train.toarray()), table, layers, NOISE, generator)
    views = np.mean(each, axis=0), each[contrastive_layer - 1]
    return slow_contrast(*views, batch, CONTRAST.weight, CONTRAST.temperature)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_training_scores_with_the_noisy_layers(train, layers):
    model = xsimgcl(train, layers)
    expected = slow_layers(
        dense_adjacency(train.toarray()), parameter(model.table), layers, NOISE, seeded(7)
    )
    view = model.embeddings(seeded(7))
    np.testing.assert_allclose(whole(view), np.mean(expected, axis=0), rtol=1e-4, atol=1e-7)
    for got, layer in zip(view.layers, expected, strict=True):
        np.testing.assert_allclose(whole(got), layer, rtol=1e-4, atol=1e-7)


def test_evaluation_is_simgcls(train):
    model, other = xsimgcl(train, 2), SimGCL(train, DIM, 2, 0.2, CONTRAST, seeded())
    np.testing.assert_array_equal(whole(model.embeddings()), whole(other.embeddings()))


@pytest.mark.parametrize(("layers", "contrastive_layer"), [(1, 1), (2, 1), (3, 2), (3, 3)])
def test_auxiliary_against_loops(train, layers, contrastive_layer):
    model, batch = xsimgcl(train, layers, contrastive_layer), some_pairs(train)
    view = model.embeddings(seeded(7))
    expected = slow_loss(train, parameter(model.table), layers, contrastive_layer, batch, seeded(7))
    for same in (view, view.normalised()):
        got = model.auxiliary(batch, same, seeded(1)).item()
        assert got == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("layers", "contrastive_layer"), [(2, 1), (3, 2)])
def test_gradient_of_auxiliary_against_differences(train, layers, contrastive_layer):
    model, batch = xsimgcl(train, layers, contrastive_layer), some_pairs(train)
    model.auxiliary(batch, model.embeddings(seeded(7)), seeded(1)).backward()
    direction = np.random.default_rng(3).normal(size=model.table.shape)
    expected = directional_derivative(
        lambda table: slow_loss(train, table, layers, contrastive_layer, batch, seeded(7)),
        parameter(model.table),
        direction,
    )
    got = (model.table.grad.numpy() * direction).sum()
    assert got == pytest.approx(expected, rel=1e-3)


def test_auxiliary_draws_nothing(train):
    model, batch, generator = xsimgcl(train, 2), some_pairs(train), seeded(1)
    view = model.embeddings(seeded(7))
    before = generator.get_state()
    model.auxiliary(batch, view, generator)
    assert (generator.get_state() == before).all()
