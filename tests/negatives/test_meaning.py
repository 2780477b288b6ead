"""The filter by meaning: what it refuses, and what becomes of that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sampler_cases import (
    N_ITEMS,
    N_USERS,
    make_batch,
    make_counts,
    make_pool,
    make_train,
    make_view,
    seeded,
)
from torch.nn.functional import normalize

from hnlmrec.config import ModelConfig
from hnlmrec.config.samplers import DnsConfig, MeaningConfig, UniformConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ConfigError
from hnlmrec.negatives import (
    EmbeddingView,
    Meaning,
    MixGcf,
    Negatives,
    SamplerSetting,
    build_sampler,
)
from hnlmrec.negatives.meaning import history_vectors
from hnlmrec.plan import model_needs
from hnlmrec.training import LanguageArtefacts, build_learner
from hnlmrec.training.learner import epoch_batches
from synthetic import interactions

ITEMS = normalize(torch.randn(N_ITEMS, 4, generator=seeded(1)), dim=1)
PROFILES = normalize(torch.randn(N_USERS, 4, generator=seeded(2)), dim=1)


class Fixed:
    """Always the same negatives."""

    def __init__(self, negatives: Negatives) -> None:
        self.negatives = negatives

    def sample(self, batch, view, generator):
        return self.negatives


def filtered(negatives: Negatives, **options: object) -> Negatives:
    config = MeaningConfig.model_validate(options)
    sampler = Meaning(Fixed(negatives), make_pool(), EmbeddingView(PROFILES, ITEMS), config)
    return sampler.sample(make_batch(), make_view(), seeded())


def refused(items: torch.Tensor, margin: float) -> np.ndarray:
    """The rule in numpy: which of items ``[B, N]`` suit the user too well."""
    batch, users, texts = make_batch(), PROFILES.numpy(), ITEMS.numpy()
    out = np.zeros(items.shape, dtype=bool)
    for b, (user, positive) in enumerate(zip(batch.users, batch.positives, strict=True)):
        own = texts[positive] @ users[user]
        for n, item in enumerate(items[b]):
            out[b, n] = texts[item] @ users[user] > own - margin * abs(own)
    return out


DRAWN = torch.randint(N_ITEMS, (6, 5), generator=seeded(4))


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_what_suits_the_user_as_well_as_the_positive_counts_nothing(margin: float) -> None:
    found = filtered(Negatives(DRAWN), margin=margin)
    rule = refused(DRAWN, margin)
    assert 0 < rule.sum() < rule.size
    np.testing.assert_array_equal(found.weights == 0, rule)
    assert torch.equal(found.items, DRAWN)
    assert set(found.weights.unique().tolist()) == {0.0, 1.0}


def test_a_wider_margin_refuses_more() -> None:
    counts = [int(refused(DRAWN, margin).sum()) for margin in (0.0, 0.5)]
    assert counts[0] < counts[1]


def test_it_may_count_less_beside_weights_of_the_base() -> None:
    weights = torch.rand(6, 5, generator=seeded(5))
    found = filtered(Negatives(DRAWN, weights=weights), action="weigh", weight=0.25)
    rule = torch.from_numpy(refused(DRAWN, 0.0))
    torch.testing.assert_close(found.weights, torch.where(rule, 0.25 * weights, weights))


def test_or_give_way_to_an_uninteracted_item() -> None:
    view = make_view()
    layered = MixGcf(make_pool(), 5, 4).sample(make_batch(), view, seeded())
    found = filtered(layered, action="replace")
    rule = torch.from_numpy(refused(layered.items, 0.0))
    assert rule.any()
    assert torch.equal(found.items[~rule], layered.items[~rule])
    torch.testing.assert_close(found.embeddings[rule], view.items[found.items[rule]])
    torch.testing.assert_close(found.embeddings[~rule], layered.embeddings[~rule])
    users = make_batch().users[:, None].expand_as(rule)
    assert make_pool().contains(users, found.items).all()


@pytest.mark.parametrize("action", ["drop", "replace"])
def test_what_a_batch_shares_is_dropped_for_the_pairs_it_suits(action: str) -> None:
    found = filtered(Negatives(DRAWN[:1]), action=action)
    np.testing.assert_array_equal(found.weights == 0, refused(DRAWN[:1].expand(6, -1), 0.0))


def test_a_users_history_is_the_mean_of_the_training_texts() -> None:
    seen = make_train().toarray() > 0
    expected = np.stack([ITEMS.numpy()[row].mean(axis=0) for row in seen])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(history_vectors(ITEMS, make_pool()), expected, atol=1e-6)


def setting(**texts: torch.Tensor) -> SamplerSetting:
    return SamplerSetting(make_pool(), 2, make_counts(), N_USERS, 5, seeded(), **texts)


def test_the_configuration_chooses_the_users_text() -> None:
    both = setting(item_vectors=ITEMS, user_vectors=PROFILES)
    for user, expected in (("profile", PROFILES), ("history", history_vectors(ITEMS, make_pool()))):
        sampler = build_sampler(DnsConfig(meaning=MeaningConfig(user=user)), both)
        assert torch.equal(sampler.texts.users, expected)


@pytest.mark.parametrize("user", ["history", "profile"])
def test_without_texts_it_says_what_to_do(user: str) -> None:
    given = setting() if user == "history" else setting(item_vectors=ITEMS)
    with pytest.raises(ConfigError, match="hnlmrec encode"):
        build_sampler(UniformConfig(meaning=MeaningConfig(user=user)), given)


def test_it_goes_below_synthesised_negatives_and_off_the_direct_step() -> None:
    tree = {
        "sampler": {"name": "semantic", "source": "noise", "base": {"name": "dns", "meaning": {}}},
        "alignment": {"weight": 0.1},
    }
    plain = {"backbone": {"name": "mf"}, "sampler": {"name": "dns", "meaning": {}}}
    data = interactions()
    given = LanguageArtefacts(None, normalize(torch.randn(data.n_items, 4), dim=1))
    for one in (tree, plain):
        learner = build_learner(
            ModelConfig.model_validate(one), data, 0, given, torch.device("cpu")
        )
        assert learner.direct is None
        sampler = learner.sampler if learner.semantic is None else learner.semantic.base
        assert isinstance(sampler, Meaning)
        batch = next(epoch_batches(data, 64, seeded(), torch.device("cpu")))
        assert learner.step(batch, seeded())["ranking"].isfinite()


def test_held_out_labels_leave_no_trace() -> None:
    real = interactions()
    other = Interactions(real.user_ids, real.item_ids, real.train, real.test[::-1], real.valid * 0)
    texts = normalize(torch.randn(real.n_items, 4, generator=seeded(1)), dim=1)
    config = ModelConfig.model_validate({"sampler": {"name": "dns", "meaning": {"margin": 0.2}}})
    weights = []
    for data in (real, other):
        learner = build_learner(
            config, data, 0, LanguageArtefacts(None, texts), torch.device("cpu")
        )
        batch = next(epoch_batches(data, 64, seeded(), torch.device("cpu")))
        weights.append(learner.sample(batch, learner.view(), seeded()).weights)
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("meaning", "needs"),
    [({}, {"encode/items"}), ({"user": "profile"}, {"encode/items", "encode/users"})],
)
def test_a_model_with_it_needs_texts(meaning: dict[str, str], needs: set[str]) -> None:
    config = ModelConfig.model_validate({"sampler": {"name": "dns", "meaning": meaning}})
    assert set(model_needs(config)) == {"prepare", *needs}
