from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from sampler_cases import DIM, N_USERS, make_batch, make_counts, make_pool, make_view, seeded
from torch import Tensor

from hnlmrec.alignment import Adapter
from hnlmrec.config import AlignmentConfig, ModelConfig, SemanticConfig
from hnlmrec.config.samplers import (
    AhnsConfig,
    DensConfig,
    DnsConfig,
    InBatchConfig,
    MixGcfConfig,
    PopularityConfig,
    SharedConfig,
    SrnsConfig,
    UniformConfig,
)
from hnlmrec.negatives import (
    SAMPLERS,
    EmbeddingView,
    Negatives,
    PairBatch,
    SamplerSetting,
    build_sampler,
)
from hnlmrec.negatives.scoring import mixed_embeddings, score_batch
from hnlmrec.negatives.semantic import Semantic

WIDTH = 4
INDPTR = torch.tensor([0, 1, 2, 3])
BASES = (
    UniformConfig(), PopularityConfig(), DnsConfig(), SrnsConfig(), MixGcfConfig(), DensConfig(),
    AhnsConfig(), InBatchConfig(), SharedConfig(size=9), SharedConfig(size=9, beta=0.75, guard=0.3),
    MixGcfConfig(guard=0.1, warmup=2),
)  # fmt: skip


class _Base:
    """Always items 0 and 1, as items or as embeddings."""

    def __init__(self, embeddings: bool = False) -> None:
        self.embeddings = embeddings

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        items = torch.tensor([[0, 1]]).expand(len(batch.users), -1)
        return Negatives(items, view.items[items] if self.embeddings else None)


class _Source:
    """Vectors of the pairs but every third."""

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return torch.eye(WIDTH)[index % WIDTH], index % 3 < 2


def _sample(
    embeddings: bool = False, epoch: int = 1, **changes: object
) -> tuple[Negatives, EmbeddingView, Adapter, PairBatch]:
    adapter = Adapter(WIDTH, 3, AlignmentConfig(hidden=5), seeded())
    items = torch.tensor([[1.0, 2, 2], [0, 3, 4], [5, 5, 5]])
    view = EmbeddingView(torch.tensor([[1.0, 1, 1], [0, 1, -1], [2, 0, 1]]), items)
    sampler = Semantic(
        _Base(embeddings), _Source(), adapter, SemanticConfig.model_validate(changes), INDPTR
    )
    index = torch.tensor([0, 1, 2])
    batch = PairBatch(index, index, index, epoch)
    return sampler.sample(batch, view, torch.Generator()), view, adapter, batch


@pytest.mark.parametrize("embeddings", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("rescale", [True, False])
def test_mixing_follows_the_papers_equation(alpha: float, rescale: bool, embeddings: bool) -> None:
    negatives, view, adapter, _ = _sample(embeddings, alpha=alpha, rescale=rescale)
    mixed = mixed_embeddings(negatives, view)
    for pair in range(2):
        for order, item in enumerate((0, 1)):
            hard = adapter(torch.eye(WIDTH)[pair])
            if rescale:
                hard = hard / hard.norm() * view.items[item].norm()
            expected = alpha * hard + (1 - alpha) * view.items[item]
            torch.testing.assert_close(mixed[pair, order], expected)


def test_where_scores_are_cosines_the_synthesised_negative_has_unit_length() -> None:
    # a base's mixtures are shorter than 1, and are brought to unit length after this
    class Short(_Base):
        def sample(self, *arguments: object) -> Negatives:
            negatives = super().sample(*arguments)
            return replace(negatives, embeddings=negatives.embeddings / 2)

    *_, view, adapter, batch = _sample()
    config = SemanticConfig.model_validate({"rescale": True})
    sampler = Semantic(Short(embeddings=True), _Source(), adapter, config, INDPTR)
    negatives = sampler.sample(batch, view.normalised(), torch.Generator())
    assert (negatives.lengths == 1).all()
    torch.testing.assert_close(negatives.synthesised.norm(dim=2), torch.ones(3, 1))


def test_as_a_text_it_leaves_the_scores_alone_and_reaches_the_adapter() -> None:
    negatives, view, adapter, batch = _sample(enter="text", alpha=0.7, weight=3)
    positive, scores, weights = score_batch(batch, negatives, view)
    base = _Base().sample(batch, view, torch.Generator())
    plain = score_batch(batch, base, view)
    assert torch.equal(positive, plain[0])
    assert torch.equal(scores, plain[1])
    assert weights is None
    assert negatives.texts is not None
    torch.testing.assert_close(negatives.texts[:2, 0], adapter(torch.eye(WIDTH)[:2]))
    negatives.texts.sum().backward()
    assert adapter.outer.weight.grad is not None
    # what the contrastive loss sees has no graph, as before
    assert negatives.synthesised is not None
    assert not negatives.synthesised.requires_grad


def test_a_pair_without_a_synthesised_negative_keeps_its_base_negatives() -> None:
    negatives, view, _, _ = _sample(alpha=0.7)
    assert negatives.present is not None
    assert negatives.present.tolist() == [[True], [True], [False]]
    assert torch.equal(mixed_embeddings(negatives, view)[2], view.items[:2])
    assert negatives.items.tolist() == [[0, 1]] * 3


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_a_gradient_reaches_the_adapter_only_when_told(stop_gradient: bool) -> None:
    negatives, view, adapter, batch = _sample(alpha=0.5, stop_gradient=stop_gradient)
    assert negatives.synthesised is not None
    assert negatives.synthesised.requires_grad != stop_gradient
    scores = score_batch(batch, negatives, view)[1]
    assert scores.requires_grad != stop_gradient
    if not stop_gradient:
        scores.sum().backward()
        assert adapter.outer.weight.grad.any()


def test_in_the_place_of_the_negative_alpha_does_not_matter() -> None:
    negatives, view, _, _ = _sample(enter="negative", alpha=0.1, rescale=False)
    assert negatives.synthesised is not None
    mixed = mixed_embeddings(negatives, view)
    torch.testing.assert_close(mixed[:2, 0], negatives.synthesised[:2, 0])
    torch.testing.assert_close(mixed[:2, 1], negatives.synthesised[:2, 0])
    assert torch.equal(mixed[2], view.items[:2])


def test_as_one_more_negative_it_leaves_the_others_alone() -> None:
    negatives, view, _, batch = _sample(enter="extra", alpha=0.9, weight=0.4)
    assert negatives.synthesised is not None
    _, scores, weights = score_batch(batch, negatives, view)
    torch.testing.assert_close(scores[:, :2], view.users @ view.items[:2].T)
    # at the mean length of the others: 3 and 5
    hard = 4 * (view.users * negatives.synthesised[:, 0]).sum(dim=1)
    torch.testing.assert_close(scores[:, 2], hard)
    assert weights is not None
    torch.testing.assert_close(weights, torch.tensor([[1, 1, 0.4], [1, 1, 0.4], [1, 1, 0]]))
    torch.testing.assert_close(mixed_embeddings(negatives, view), view.items[:2].expand(3, 2, 3))


@pytest.mark.parametrize(
    ("epoch", "share"), [(1, 0.1), (2, 0.2), (3, 0.3), (5, 0.5), (6, 0.5), (60, 0.5)]
)
def test_the_share_of_a_mixture_grows_in_equal_steps(epoch: int, share: float) -> None:
    negatives, *_ = _sample(epoch=epoch, alpha=0.5, alpha_start=0.1, alpha_epochs=4)
    assert negatives.mixed == pytest.approx(share)


def test_the_share_may_fall_too_and_is_constant_without_epochs() -> None:
    falling = {"alpha": 0.0, "alpha_start": 1.0, "alpha_epochs": 2}
    assert [_sample(epoch=epoch, **falling)[0].mixed for epoch in (1, 2, 3, 4)] == [1, 0.5, 0, 0]
    assert [_sample(epoch=epoch, alpha=0.3)[0].mixed for epoch in (1, 9)] == [0.3, 0.3]


def test_every_base_is_under_test() -> None:
    assert {base.name for base in BASES} == set(SAMPLERS)


@pytest.mark.parametrize("draws", [1, 2])
@pytest.mark.parametrize("enter", ["mixture", "negative", "extra"])
@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_scores_are_those_of_the_mixed_embeddings(
    base: object, enter: str, cosine: bool, draws: int
) -> None:
    setting = SamplerSetting(make_pool(), 2, make_counts(), N_USERS, DIM, seeded())
    config = SemanticConfig.model_validate(
        {"base": base, "enter": enter, "alpha": 0.3, "draws": draws}
    )
    adapter = Adapter(WIDTH, DIM, AlignmentConfig(hidden=5), seeded())
    sampler = Semantic(
        build_sampler(config.base, setting), _Source(), adapter, config, setting.pool.indptr
    )
    view, batch = make_view(), make_batch(epoch=2)
    view = view.normalised() if cosine else view
    negatives = sampler.sample(batch, view, seeded())
    _, scores, weights = score_batch(batch, negatives, view)
    mixed = mixed_embeddings(negatives, view)
    b, n = len(batch.users), negatives.items.shape[1]
    users = view.users[batch.users]
    expected = (users.unsqueeze(1) * mixed).sum(dim=2)
    torch.testing.assert_close(scores[:, :n], expected.expand(b, n), rtol=1e-4, atol=1e-5)
    assert scores.shape == (b, n + draws * (enter == "extra"))
    alone = replace(negatives, synthesised=None)
    present = negatives.present
    assert present is not None
    base_scores = score_batch(batch, alone, view)[1]
    # a pair without a synthesised negative sees the base alone
    none = ~present.any(dim=1)
    torch.testing.assert_close(scores[none, :n], base_scores[none], rtol=1e-4, atol=1e-5)
    if enter == "extra":
        torch.testing.assert_close(scores[:, :n], base_scores, rtol=1e-4, atol=1e-5)
        assert weights is not None
        assert torch.equal(weights[:, n:], present.float())
        if negatives.weights is not None:
            assert torch.equal(weights[:, :n], negatives.weights)
    else:
        some = present.all(dim=1)
        assert not torch.allclose(scores[some], base_scores[some])
        assert weights is negatives.weights


def test_more_draws_are_those_of_other_pairs_of_the_user_and_meet_negatives_in_turn() -> None:
    adapter, config = (
        Adapter(WIDTH, 3, AlignmentConfig(hidden=5), seeded()),
        {"draws": 2, "alpha": 0.5, "rescale": False},
    )
    sampler = Semantic(
        _Base(), _Source(), adapter, SemanticConfig.model_validate(config), torch.tensor([0, 3, 9])
    )
    view = EmbeddingView(torch.randn(2, 3), torch.randn(3, 3))
    users, index = torch.tensor([0, 1] * 200), torch.tensor([1, 4] * 200)
    negatives = sampler.sample(PairBatch(users, users, index), view, seeded())
    assert negatives.synthesised is not None
    everything = adapter(torch.eye(WIDTH))
    which = torch.cdist(negatives.synthesised, everything.expand(400, -1, -1)).argmin(dim=2)
    assert (which[:, 0] == index % WIDTH).all()
    # user 0 has pairs 0 to 2, user 1 pairs 3 to 8
    assert set(which[users == 0, 1].tolist()) == {0, 1, 2}
    assert set(which[users == 1, 1].tolist()) == {0, 1, 2, 3}
    mixed, (pair, order) = mixed_embeddings(negatives, view), (0, 1)
    assert negatives.present is not None
    share = 0.5 * negatives.present[pair, order]
    torch.testing.assert_close(
        mixed[pair, order],
        share * everything[which[pair, order]] + (1 - share) * view.items[order],
    )


def test_draws_that_meet_no_negative_are_refused() -> None:
    sampler = {"name": "semantic", "draws": 2}
    with pytest.raises(ValidationError, match=r"sampler\.draws is 2 and a pair has 1 negatives"):
        ModelConfig.model_validate({"sampler": sampler, "alignment": {"weight": 0.1}})
    for change in ({"enter": "extra"}, {"base": {"name": "shared"}}):
        ModelConfig.model_validate({"sampler": {**sampler, **change}, "alignment": {"weight": 0.1}})


def test_as_a_text_only_the_pairs_that_are_looked_at_get_one() -> None:
    setting = SamplerSetting(make_pool(), 2, make_counts(), N_USERS, DIM, seeded())
    config = SemanticConfig.model_validate({"base": {"name": "dns"}, "enter": "text", "draws": 2})
    adapter = Adapter(WIDTH, DIM, AlignmentConfig(hidden=5), seeded())
    base = build_sampler(config.base, setting)
    view, batch = make_view(), make_batch()
    few, all_pairs = (
        Semantic(base, _Source(), adapter, config, setting.pool.indptr, most).sample(
            batch, view, seeded()
        )
        for most in (3, None)
    )
    assert few.texts is not None
    assert all_pairs.texts is not None
    assert len(few.texts) == 3 < len(all_pairs.texts) == len(batch.users)
    torch.testing.assert_close(few.texts, all_pairs.texts[:3])
    for negatives in (few, all_pairs):
        scores = score_batch(batch, negatives, view)[1]
        alone = score_batch(batch, replace(negatives, synthesised=None), view)[1]
        assert torch.equal(scores, alone)
