"""What every base sampler must do."""

from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from hnlmrec.config import BaseSamplerConfig, DnsConfig, UniformConfig
from hnlmrec.negatives import BASE_SAMPLERS, EmbeddingView, PairBatch, Uninteracted, build_base

CONFIGS = {
    "uniform": UniformConfig(),
    "dns": DnsConfig(candidates=5, top=1),
    "dns-top": DnsConfig(candidates=5, top=3),
}
N_USERS, N_ITEMS, DIM = 8, 12, 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture
def train():
    """User 0 has all items but number 7, user 1 has one item, user 2 none."""
    interacted = np.random.default_rng(4).random((N_USERS, N_ITEMS)) < 0.4
    interacted[0] = True
    interacted[0, 7] = False
    interacted[1] = np.arange(N_ITEMS) == 3
    interacted[2] = False
    return sp.csr_array(interacted.astype(np.float32))


@pytest.fixture
def view():
    generator = seeded(1)
    tables = (torch.randn(n, DIM, generator=generator) for n in (N_USERS, N_ITEMS))
    return EmbeddingView(*(table.requires_grad_() for table in tables))


@pytest.fixture
def batch():
    users = torch.arange(N_USERS).repeat(50)
    return PairBatch(users, torch.zeros_like(users), torch.arange(len(users)))


def test_every_base_sampler_is_under_contract():
    assert {config.name for config in CONFIGS.values()} == set(BASE_SAMPLERS)


def test_every_configuration_has_a_sampler():
    union = get_args(BaseSamplerConfig)[0]
    assert {section().name for section in get_args(union)} == set(BASE_SAMPLERS)


@pytest.mark.parametrize("n", [1, 3])
def test_shapes_and_types(config, train, view, batch, n):
    negatives = build_base(config, Uninteracted(train), n).sample(batch, view, seeded())
    assert negatives.items.shape == (len(batch.users), n)
    assert negatives.items.dtype == torch.int64
    assert negatives.embeddings.shape == (len(batch.users), n, DIM)
    assert torch.equal(negatives.embeddings, view.items[negatives.items])
    assert negatives.synthesised is None


def test_never_a_training_positive(config, train, view, batch):
    items = build_base(config, Uninteracted(train), 4).sample(batch, view, seeded()).items
    assert not train.toarray()[batch.users[:, None], items].any()
    assert (items[batch.users == 0] == 7).all()


def test_a_generator_determines_the_negatives(config, train, view, batch):
    sampler = build_base(config, Uninteracted(train), 2)
    one, same, other = (sampler.sample(batch, view, seeded(s)).items for s in (5, 5, 6))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_global_generator_is_not_touched(config, train, view, batch):
    before = torch.get_rng_state()
    build_base(config, Uninteracted(train), 2).sample(batch, view, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_reach_exactly_the_chosen_items(config, train, view, batch):
    negatives = build_base(config, Uninteracted(train), 2).sample(batch, view, seeded())
    negatives.embeddings.sum().backward()
    counts = torch.bincount(negatives.items.flatten(), minlength=N_ITEMS)
    assert torch.equal(view.items.grad, counts[:, None].expand(-1, DIM).float())
    assert view.users.grad is None  # choosing is not differentiated
