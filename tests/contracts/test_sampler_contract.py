"""What every ID-based sampler must do, alone, guarded, filtered by meaning and warming up."""

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn
from torch.nn.functional import normalize

from hnlmrec.config.samplers import (
    SAMPLER_NAMES,
    AhnsConfig,
    BaseSamplerConfig,
    DensConfig,
    DnsConfig,
    InBatchConfig,
    MeaningConfig,
    MixGcfConfig,
    PopularityConfig,
    SharedConfig,
    SrnsConfig,
    UniformConfig,
)
from hnlmrec.negatives import (
    SAMPLERS,
    EmbeddingView,
    PairBatch,
    SamplerSetting,
    Uninteracted,
    build_sampler,
)
from hnlmrec.negatives.parts import sample_part

REPLACE = MeaningConfig(action="replace", margin=0.1)
CONFIGS = {
    "uniform": UniformConfig(),
    "uniform-guard": UniformConfig(guard=0.2),
    "popularity": PopularityConfig(),
    "popularity-flat": PopularityConfig(beta=0),
    "popularity-warm": PopularityConfig(warmup=3),
    "dns": DnsConfig(candidates=5, top=1),
    "dns-top": DnsConfig(candidates=5, top=3),
    "dns-guard": DnsConfig(candidates=5, guard=0.2),
    "srns": SrnsConfig(memory=6, extra=4, history=2),
    "srns-guard-warm": SrnsConfig(memory=6, extra=4, history=2, guard=0.0, warmup=3),
    "mixgcf": MixGcfConfig(candidates=5),
    "mixgcf-meaning-warm": MixGcfConfig(candidates=5, meaning=REPLACE, warmup=3),
    "mixgcf-guard-warm": MixGcfConfig(candidates=5, guard=0.2, warmup=3),
    "dens": DensConfig(candidates=5, gate_warmup=3),
    "dens-guard-warm": DensConfig(candidates=5, gate_warmup=3, guard=0.2, warmup=3),
    "ahns": AhnsConfig(candidates=5),
    "ahns-steep": AhnsConfig(candidates=5, alpha=0.1, power=-30.5),
    "in_batch": InBatchConfig(),
    "in_batch-plain-guard": InBatchConfig(correct=False, guard=0.2),
    "shared": SharedConfig(size=40),
    "uniform-guard-meaning": UniformConfig(guard=0.2, meaning=REPLACE),
    "in_batch-meaning": InBatchConfig(meaning=MeaningConfig(action="weigh")),
    "shared-meaning": SharedConfig(size=40, meaning=REPLACE),
    "shared-popular-guard": SharedConfig(size=40, beta=0.75, guard=0.2),
}
POOLS = {"in_batch", "shared"}
LAYERED = {"mixgcf", "dens"}
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


def table(seed, dtype=torch.float32):
    values = torch.randn(N_USERS + N_ITEMS, DIM, generator=seeded(seed), dtype=dtype)
    return values.requires_grad_()


@pytest.fixture
def view():
    layers = tuple(EmbeddingView.of_table(table(seed), N_USERS) for seed in (1, 2, 3))
    return replace(EmbeddingView.of_table(table(4), N_USERS), layers=layers)


@pytest.fixture
def batch(train):
    """Many pairs of each user, each with a training item; of user 2, who has none, with item 0."""
    users = torch.arange(N_USERS).repeat(30)
    rng = np.random.default_rng(7)
    own = [train.indices[train.indptr[u] : train.indptr[u + 1]] for u in range(N_USERS)]
    positives = [rng.choice(own[u]) if len(own[u]) else 0 for u in users]
    return PairBatch(users, torch.tensor(positives), torch.arange(len(users)), epoch=2)


def build(config, train, n=2, seed=11):
    counts = np.bincount(train.indices, minlength=N_ITEMS)
    pool = Uninteracted(train)
    texts = normalize(torch.randn(N_ITEMS, 6, generator=seeded(3)), dim=1)
    setting = SamplerSetting(
        pool, n, counts, N_USERS, DIM, seeded(seed), item_vectors=texts, user_vectors=None
    )
    return build_sampler(config, setting)


def offered(negatives, batch):
    """The items of each pair ``[B, N]`` and which of them count."""
    items = negatives.items.expand(len(batch.users), -1)
    if negatives.weights is None:
        return items, torch.ones_like(items, dtype=torch.bool)
    return items, negatives.weights > 0


def test_every_sampler_is_under_contract_and_has_a_section():
    sections = [get_args(one)[0] for one in get_args(get_args(BaseSamplerConfig)[0])]
    names = {section.model_fields["name"].default for section in sections}
    built_in = {name for name in names if isinstance(name, str)}
    assert {config.name for config in CONFIGS.values()} == set(SAMPLERS)
    assert built_in == set(SAMPLERS) == set(SAMPLER_NAMES)


@pytest.mark.parametrize("n", [1, 3])
def test_shapes_and_types(config, train, view, batch, n):
    negatives = build(config, train, n).sample(batch, view, seeded())
    b = len(batch.users)
    if config.name in POOLS:
        assert negatives.items.shape == (1, b if config.name == "in_batch" else config.size)
        assert negatives.weights.shape == (b, negatives.items.shape[1])
        assert negatives.weights.dtype == view.items.dtype
    else:
        assert negatives.items.shape == (b, n)
        assert negatives.weights is None
    assert negatives.items.dtype == torch.int64
    assert (negatives.embeddings is not None) == (config.name in LAYERED)
    if negatives.embeddings is not None:
        assert negatives.embeddings.shape == (b, n, DIM)
        assert negatives.embeddings.dtype == view.items.dtype
    assert (negatives.loss is not None) == (config.name == "dens")
    assert negatives.synthesised is None


def test_never_a_training_positive(config, train, view, batch):
    sampler = build(config, train, 4)
    for epoch in range(1, 6):
        negatives = sampler.sample(replace(batch, epoch=epoch), view, seeded(epoch))
        items, counted = offered(negatives, batch)
        assert not train.toarray()[batch.users[:, None], items][counted].any()
        assert (items[batch.users == 0][counted[batch.users == 0]] == 7).all()
        assert ((items >= 0) & (items < N_ITEMS)).all()


def test_every_user_gets_negatives_unless_a_pool_or_a_guard_leaves_none(config, train, view, batch):
    _, counted = offered(build(config, train).sample(batch, view, seeded()), batch)
    if config.guard is None and config.meaning is None:
        full = batch.users == 0  # item 7 may be absent from a pool
        assert counted[~full].any(dim=1).all()


def test_a_single_pair(config, train, view):
    one = torch.tensor([3])
    batch = PairBatch(one, torch.tensor([int(train.indices[train.indptr[3]])]), one)
    negatives = build(config, train, 2).sample(batch, view, seeded())
    items, counted = offered(negatives, batch)
    assert not train.toarray()[3][items[counted]].any()
    if config.name == "in_batch":
        assert not counted.any()


def test_a_generator_determines_the_negatives(config, train, view, batch):
    one, same, other = (build(config, train).sample(batch, view, seeded(s)) for s in (5, 5, 6))
    for field in ("items", "weights", "embeddings", "loss"):
        value = getattr(one, field)
        assert value is None or torch.equal(value, getattr(same, field))
    assert torch.equal(one.items, other.items) == (config.name == "in_batch")


def test_the_global_generator_is_not_touched(config, train, view, batch):
    before = torch.get_rng_state()
    build(config, train).sample(batch, view, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_the_input_is_not_changed(config, train, view, batch):
    copies = [
        part.clone() for part in (batch.users, batch.positives, view.table, view.layers[0].table)
    ]
    build(config, train).sample(batch, view, seeded())
    for part, copy in zip(
        (batch.users, batch.positives, view.table, view.layers[0].table), copies, strict=True
    ):
        assert torch.equal(part, copy)


def test_gradients_pass_through_embeddings_and_losses_alone(config, train, view, batch):
    negatives = build(config, train).sample(replace(batch, epoch=9), view, seeded())
    assert negatives.weights is None or not negatives.weights.requires_grad
    if config.name not in LAYERED:
        assert negatives.embeddings is None
        assert negatives.loss is None
        return
    negatives.embeddings.sum().backward()
    for layer in view.layers:
        users, items = layer.table.grad.split([N_USERS, N_ITEMS])
        assert not users.any()  # choosing is not differentiated
        assert items.any()
    if config.guard is None and config.meaning is None:
        assert view.table.grad is None


def test_choosing_is_the_same_without_autograd(config, train, view, batch):
    one = build(config, train).sample(batch, view, seeded())
    with torch.no_grad():
        other = build(config, train).sample(batch, view, seeded())
    assert torch.equal(one.items, other.items)


def test_tensors_are_made_on_the_device_of_the_batch(config, train, view, batch, monkeypatch):
    # the kernels for CPUs may take memory where they like; all else, under a default device that
    # holds no numbers, must say where its tensors belong
    sampler, draw = build(config, train), Uninteracted.sample

    def draw_on_cpu(*arguments):
        with torch.device("cpu"):
            return draw(*arguments)

    monkeypatch.setattr(Uninteracted, "sample", draw_on_cpu)
    monkeypatch.setattr("hnlmrec.kernels.pairs.on_cpu", lambda *tables: False)
    with torch.device("meta"):
        negatives = sampler.sample(batch, view, seeded())
    for part in (negatives.items, negatives.embeddings, negatives.weights, negatives.loss):
        assert part is None or part.device == batch.users.device


def test_double_precision(config, train, batch):
    layers = tuple(
        EmbeddingView.of_table(table(seed, torch.float64), N_USERS) for seed in (1, 2, 3)
    )
    view = replace(EmbeddingView.of_table(table(4, torch.float64), N_USERS), layers=layers)
    sampler = build(config, train)
    if isinstance(module := chain(sampler)[-1], nn.Module) and config.name == "dens":
        module.double()
    negatives = sampler.sample(batch, view, seeded())
    for part in (negatives.embeddings, negatives.weights, negatives.loss):
        assert part is None or part.dtype == torch.float64


def test_state_survives_a_round_trip(config, train, view, batch):
    """What is saved after two epochs makes another sampler go on as the first one does."""
    modules = [one for one in chain(build(config, train)) if isinstance(one, nn.Module)]
    if not modules:
        return
    first, second = build(config, train, seed=1), build(config, train, seed=2)
    for epoch in (1, 2):
        first.sample(replace(batch, epoch=epoch), view, seeded(epoch))
    for ours, theirs in zip(chain(first), chain(second), strict=True):
        if isinstance(ours, nn.Module):
            theirs.load_state_dict(ours.state_dict())
    for epoch in (3, 4, 5):
        one, other = (
            sampler.sample(replace(batch, epoch=epoch), view, seeded(epoch))
            for sampler in (first, second)
        )
        assert torch.equal(one.items, other.items)
        assert one.loss is None or torch.equal(one.loss, other.loss)


def chain(sampler):
    base = getattr(sampler, "base", None)
    return [sampler, *(chain(base) if base is not None else [])]


@pytest.mark.parametrize("epoch", [1, 2])
def test_parts_of_a_batch_meet_the_negatives_of_the_whole(config, train, view, batch, epoch):
    whole = replace(batch, epoch=epoch)
    generator = seeded()
    expected = build(config, train).sample(whole, view, generator)
    # a part of one pair could not tell a shared pool from its own negatives: there is none
    borders = [0, 2, 100, len(batch.users)]
    parts, loss = [], 0.0
    for start, stop in pairwise(borders):
        own = seeded()
        sampler, part = build(config, train), whole.part(slice(start, stop))
        found = sample_part(sampler, part, view, own)
        # where draws are shared out, the next ones must be those of the whole batch too
        assert torch.equal(own.get_state(), generator.get_state())
        if found.loss is not None:
            loss += found.loss.item() * (stop - start) / len(batch.users)
        parts.append(found)
    for name in ("items", "embeddings", "weights"):
        each = [getattr(part, name) for part in parts]
        every = getattr(expected, name)
        if every is None:
            assert each == [None] * len(parts)
        elif len(every) == len(batch.users):
            torch.testing.assert_close(torch.cat(each), every)
        else:
            assert all(torch.equal(one, every) for one in each)
    if expected.loss is not None:
        assert loss == pytest.approx(expected.loss.item(), rel=1e-5)
