from dataclasses import replace

import pytest
import torch
from sampler_cases import N_USERS, make_batch, make_counts, make_pool, make_view, seeded

from hnlmrec.config.samplers import DnsConfig, MixGcfConfig, SrnsConfig, UniformConfig
from hnlmrec.errors import ConfigError
from hnlmrec.negatives import (
    Dns,
    EmbeddingView,
    Guard,
    MixGcf,
    Negatives,
    PairBatch,
    SamplerSetting,
    Shared,
    Srns,
    Uniform,
    Warmup,
    build_sampler,
)
from hnlmrec.negatives.scoring import score_batch


class Fixed:
    """Always the same negatives."""

    def __init__(self, negatives):
        self.negatives = negatives

    def sample(self, batch, view, generator):
        return self.negatives


def many(epoch=1, repeat=500):
    batch = make_batch(epoch)
    parts = (part.repeat(repeat) for part in (batch.users, batch.positives, batch.index))
    return PairBatch(*parts, epoch)


@pytest.mark.parametrize(("epoch", "share"), [(1, 1.0), (2, 0.75), (4, 0.25), (5, 0.0), (9, 0.0)])
def test_the_share_of_uniform_negatives_falls_by_epochs(epoch, share):
    batch = many(epoch)
    marker = Negatives(torch.full((len(batch.users), 2), -1))
    items = Warmup(Fixed(marker), make_pool(), 4).sample(batch, make_view(), seeded()).items
    assert (items >= 0).float().mean().item() == pytest.approx(share, abs=0.02)
    replaced = items >= 0
    users = batch.users.unsqueeze(1).expand_as(items)[replaced]
    assert make_pool().contains(users, items[replaced]).all()


def test_places_are_drawn_for_each_pair_and_negative():
    batch = many(3)
    marker = Negatives(torch.full((len(batch.users), 2), -1))
    items = Warmup(Fixed(marker), make_pool(), 4).sample(batch, make_view(), seeded()).items
    both = (items >= 0).all(dim=1).float().mean().item()
    assert both == pytest.approx(0.25, abs=0.03)


def test_after_the_warmup_nothing_is_changed_or_drawn():
    batch, view = make_batch(4), make_view()
    base = Dns(make_pool(), 2, 5, 1)
    ours, theirs = seeded(), seeded()
    one = Warmup(base, make_pool(), 3).sample(batch, view, ours)
    assert torch.equal(one.items, base.sample(batch, view, theirs).items)
    assert torch.equal(ours.get_state(), theirs.get_state())


def test_a_memory_fills_during_the_warmup():
    base = Srns(make_pool(), 1, 6, 4, 1.0, 1.0, 2, 5)
    Warmup(base, make_pool(), 3).sample(make_batch(1), make_view(), seeded())
    assert (base.memory[make_batch().users] >= 0).all()


def test_replaced_embeddings_are_rows_of_items_and_the_others_stay():
    batch, view = make_batch(2), make_view()
    warm = Warmup(MixGcf(make_pool(), 4, 3), make_pool(), 2).sample(batch, view, seeded())
    own = MixGcf(make_pool(), 4, 3).sample(batch, view, seeded())
    kept = (warm.embeddings == own.embeddings).all(dim=2)
    plain = (warm.embeddings == view.items[warm.items]).all(dim=2)
    assert (kept ^ plain).all()
    assert kept.any()
    assert plain.any()
    assert torch.equal(warm.items[kept], own.items[kept])


def test_losses_are_passed_on_and_a_replaced_negative_counts_in_full():
    batch, loss = make_batch(1), torch.tensor(3.0)
    base = Negatives(
        torch.zeros(6, 2, dtype=torch.int64), weights=torch.full((6, 2), 0.2), loss=loss
    )
    warm = Warmup(Fixed(base), make_pool(), 2).sample(batch, make_view(), seeded())
    assert warm.loss is loss
    assert torch.equal(warm.weights, torch.ones(6, 2))
    assert torch.equal(base.weights, torch.full((6, 2), 0.2))


def test_a_pool_has_no_warmup():
    sampler = Warmup(Shared(make_pool(), 9, make_counts(), 0.0), make_pool(), 2)
    with pytest.raises(ConfigError, match="negatives that the whole batch shares"):
        sampler.sample(make_batch(), make_view(), seeded())


def line(scores):
    """Users 1, item scores as given."""
    return EmbeddingView(torch.ones(N_USERS, 1), torch.tensor(scores).unsqueeze(1))


@pytest.mark.parametrize(
    ("positive", "margin", "threshold"),
    [(2.0, 0.0, 2.0), (2.0, 0.25, 1.5), (-2.0, 0.25, -2.5), (0.0, 0.5, 0.0)],
)
def test_what_scores_within_the_margin_of_its_positive_is_replaced(positive, margin, threshold):
    batch = make_batch()
    scores = torch.full((30,), -90.0)
    wanted = threshold + torch.tensor([-0.01, 0.01, 5.0, -5.0])
    negatives = torch.arange(30)[~torch.isin(torch.arange(30), batch.positives)][:4]
    scores[negatives], scores[batch.positives] = wanted, positive
    base = Fixed(Negatives(negatives.expand(6, -1)))
    guarded = Guard(base, make_pool(), margin).sample(batch, line(scores.tolist()), seeded()).items
    uniform = make_pool().sample(batch.users, 4, seeded())
    assert torch.equal(guarded[:, [0, 3]], negatives[[0, 3]].expand(6, -1))
    assert torch.equal(guarded[:, [1, 2]], uniform[:, [1, 2]])


def test_in_a_pool_what_is_refused_has_weight_0_and_the_rest_keeps_its_own():
    batch, view = make_batch(), make_view()
    base = Shared(make_pool(), 40, make_counts(), 0.75)
    one, other = (
        sampler.sample(batch, view, seeded()) for sampler in (base, Guard(base, make_pool(), 0.3))
    )
    positive, scores, _ = score_batch(batch, one, view)
    refused = scores > (positive - 0.3 * positive.abs())[:, None]
    assert torch.equal(other.items, one.items)
    assert not other.weights[refused].any()
    assert torch.equal(other.weights[~refused], one.weights[~refused])
    assert (one.weights[refused] > 0).any()
    assert not other.weights.requires_grad


@pytest.mark.parametrize("cosine", [False, True])
def test_embeddings_are_tested_as_the_loss_sees_them(cosine):
    batch, view = make_batch(users=tuple(range(6)) * 3), make_view()
    view = view.normalised() if cosine else view
    own = MixGcf(make_pool(), 3, 1).sample(batch, view, seeded())
    guard = Guard(MixGcf(make_pool(), 3, 1), make_pool(), 0.1)
    guarded = guard.sample(batch, view, seeded())
    seen = own.embeddings
    if cosine:
        seen = seen / seen.norm(dim=2, keepdim=True)
    positive, scores, _ = score_batch(batch, replace(own, embeddings=seen), view)
    refused = scores > (positive - 0.1 * positive.abs())[:, None]
    assert refused.any()
    assert not refused.all()
    assert torch.equal(guarded.embeddings[~refused], own.embeddings[~refused])
    assert torch.equal(guarded.embeddings[refused], view.items[guarded.items][refused])


def test_the_guard_lets_gradients_through_to_what_it_keeps():
    view = make_view()
    batch = make_batch(users=tuple(range(6)) * 3)
    guarded = Guard(MixGcf(make_pool(), 3, 1), make_pool(), 0.1).sample(batch, view, seeded())
    guarded.embeddings.sum().backward()
    assert view.layers[0].table.grad[N_USERS:].any()
    assert view.table.grad[N_USERS:].any()  # of uniform ones
    assert not view.table.grad[:N_USERS].any()  # the test itself has no gradient


def setting(n=2):
    return SamplerSetting(make_pool(), n, make_counts(), N_USERS, 5, seeded())


def test_build_puts_the_guard_around_the_sampler_and_the_warmup_around_both():
    built = build_sampler(DnsConfig(guard=0.1, warmup=4), setting())
    assert isinstance(built, Warmup)
    assert built.epochs == 4
    assert isinstance(built.base, Guard)
    assert built.base.margin == 0.1
    assert isinstance(built.base.base, Dns)


def test_build_leaves_out_what_is_not_asked_for():
    assert isinstance(build_sampler(UniformConfig(), setting()), Uniform)
    assert isinstance(build_sampler(MixGcfConfig(), setting()), MixGcf)
    assert isinstance(build_sampler(UniformConfig(guard=0.0), setting()), Guard)
    assert isinstance(build_sampler(SrnsConfig(warmup=1), setting()), Warmup)
