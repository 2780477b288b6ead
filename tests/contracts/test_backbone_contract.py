"""What every backbone must do."""

from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from hnlmrec.backbones import BACKBONES, build_backbone
from hnlmrec.config import BackboneConfig

N_USERS, N_ITEMS, DIM = 7, 11, 5


@pytest.fixture
def train():
    """The last user and the last item have no interaction."""
    interacted = np.random.default_rng(4).random((N_USERS, N_ITEMS)) < 0.4
    interacted[-1], interacted[:, -1] = False, False
    return sp.csr_array(interacted.astype(np.float32))


@pytest.fixture(params=BACKBONES)
def build(request, train):
    config = BackboneConfig(name=request.param, dim=DIM, layers=2)
    return lambda seed=0: build_backbone(config, train, torch.Generator().manual_seed(seed))


def test_every_configuration_has_a_backbone():
    assert set(get_args(BackboneConfig.model_fields["name"].annotation)) == set(BACKBONES)


def test_embeddings_of_all_users_and_items(build):
    view = build().embeddings()
    assert view.users.shape == (N_USERS, DIM)
    assert view.items.shape == (N_ITEMS, DIM)
    assert view.users.dtype == view.items.dtype == torch.float32
    assert view.users.isfinite().all()
    assert view.items.isfinite().all()


def test_a_seed_determines_the_parameters(build):
    one, same, other = (build(seed).embeddings().items for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_global_generator_is_not_touched(build):
    before = torch.get_rng_state()
    build()
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_reach_every_parameter(build):
    model = build()
    view = model.embeddings()
    (view.users.square().sum() + view.items.square().sum()).backward()
    for parameter in model.parameters():
        assert (parameter.grad != 0).all()


def test_a_step_changes_what_is_scored(build):
    model = build()
    before = model.embeddings().items.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    (model.embeddings().items[3] @ model.embeddings().users[2]).backward()
    optimizer.step()
    assert not torch.equal(model.embeddings().items, before)


def test_l2_is_half_the_squared_norms_of_layer_0(build):
    model = build()
    users, positives = torch.tensor([0, 2, 2]), torch.tensor([1, 1, 4])
    negatives = torch.tensor([[0, 3], [3, 3], [10, 5]])
    table = model.table.detach().numpy().astype(np.float64)
    total = 0.0
    for pair in range(3):
        total += (table[users[pair]] ** 2).sum()
        total += (table[N_USERS + positives[pair]] ** 2).sum()
        for item in negatives[pair]:
            total += (table[N_USERS + item] ** 2).sum()
    assert model.l2(users, positives, negatives).item() == pytest.approx(total / 2 / 3, rel=1e-5)


def test_parameters_round_trip(build):
    model, other = build(0), build(1)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.embeddings().users, model.embeddings().users)
