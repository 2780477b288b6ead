"""What is special about single losses, and how they relate."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import cosines, some_weights
from torch.nn import functional

from hnlmrec.losses.pairwise import Bpr, Hinge
from hnlmrec.losses.pointwise import Ccl
from hnlmrec.losses.softmax import LOG_ACTIVATIONS, Bsl, Psl, Sl
from hnlmrec.losses.topk import SlAtK

seeds = st.integers(0, 9999)
close = torch.testing.assert_close


def test_bpr_by_hand():
    scores = torch.tensor([2.0]), torch.tensor([[0.0, 3.0]])
    near, far = math.log(1 + math.exp(-2)), math.log(1 + math.exp(1))
    assert Bpr()(*scores, None).item() == pytest.approx((near + far) / 2)
    weights = torch.tensor([[3.0, 1.0]])
    assert Bpr()(*scores, weights).item() == pytest.approx((3 * near + far) / 4)


def test_bpr_of_hopeless_scores_is_their_distance():
    assert Bpr()(torch.tensor([-1e8]), torch.tensor([[1e8]]), None) == 2e8


def test_hinge_and_ccl_leave_what_keeps_the_margin():
    for loss, right in ((Hinge(0.5), 0.0), (Ccl(-0.5, 2.0), 1.0)):
        negative = torch.tensor([[-0.6, -0.4]], requires_grad=True)
        loss(torch.tensor([right]), negative, None).backward()
        assert negative.grad[0, 0] == 0
        assert negative.grad[0, 1] > 0


def test_ccl_weighs_the_mean_over_negatives():
    # right: 1 - 0.5; wrong: (0.1 + 0 + 0) / 3
    scores = torch.tensor([0.5]), torch.tensor([[1.0, 0.2, -1.0]])
    assert Ccl(0.9, 30.0)(*scores, None).item() == pytest.approx(0.5 + 30 * 0.1 / 3, rel=1e-6)


def test_ccl_of_an_inner_product_above_one_costs_nothing():
    assert Ccl(0.9, 30.0)(torch.tensor([7.0]), torch.tensor([[0.2]]), None) == 0


@given(seeds, st.sampled_from([0.05, 0.2, 1.0]))
def test_sl_of_one_negative_is_bpr_of_tempered_scores(seed, t):
    positive, negative = cosines(seed, 4, 1)
    close(Sl(t)(positive, negative, None), Bpr()(positive / t, negative / t, None))


@given(seeds)
def test_sl_is_cross_entropy(seed):
    positive, negative = cosines(seed, 4, 6)
    logits = torch.cat([positive[:, None], negative], dim=1) / 0.2
    target = torch.zeros(4, dtype=torch.int64)
    close(Sl(0.2)(positive, negative, None), functional.cross_entropy(logits, target))


def test_one_more_column_is_one_more_term_of_the_denominator():
    positive, negative = torch.tensor([0.3]), torch.tensor([[0.1, 0.5]])
    ones_and_hard = torch.tensor([[1.0, 1.0, 4.0]])
    with_hard = torch.cat([negative, torch.tensor([[0.4]])], dim=1)
    top, hard = math.exp(0.3), 4 * math.exp(0.4)
    expected = -math.log(top / (top + math.exp(0.1) + math.exp(0.5) + hard))
    assert Sl(1.0)(positive, with_hard, ones_and_hard).item() == pytest.approx(expected)


@given(seeds)
def test_bsl_of_equal_temperatures_is_sl_without_the_positive_in_the_sum(seed):
    positive, negative = cosines(seed, 1, 6)
    weights = some_weights(seed, 1, 6)
    bsl = Bsl(0.2, 0.2)(positive, negative, weights)
    close(functional.softplus(bsl), Sl(0.2)(positive, negative, weights))


@given(seeds)
def test_bsl_divides_the_positive_only(seed):
    positive, negative = cosines(seed, 4, 6)
    difference = Bsl(0.2, 0.4)(positive, negative, None) - Bsl(0.2, 0.2)(positive, negative, None)
    close(difference, (positive / 0.2 - positive / 0.4).mean())


@given(seeds, st.floats(0.1, 10))
def test_a_common_factor_of_weights_shifts_bsl(seed, factor):
    positive, negative = cosines(seed, 4, 6)
    weights, loss = some_weights(seed, 4, 6), Bsl(0.2, 0.3)
    shifted = loss(positive, negative, weights) + math.log(factor)
    close(loss(positive, negative, factor * weights), shifted)


@pytest.mark.parametrize("activation", LOG_ACTIVATIONS)
@given(st.floats(-60, 60))
def test_activations_of_psl_are_tighter_than_exp(activation, d):
    log = LOG_ACTIVATIONS[activation](torch.tensor(d, dtype=torch.float64)).item()
    assert log <= d + 1e-12
    if d >= 0:
        assert log >= -1e-12


@pytest.mark.parametrize("activation", LOG_ACTIVATIONS)
@given(seeds, st.sampled_from([1.0, 2.0]))
def test_psl_is_below_sl(activation, seed, scale):
    positive, negative = cosines(seed, 4, 6)
    weights = some_weights(seed, 4, 6)
    psl = Psl(activation, 0.1, scale)(positive, negative, weights)
    assert psl <= Sl(scale * 0.1)(positive, negative, weights) + 1e-12


@pytest.mark.parametrize("activation", LOG_ACTIVATIONS)
def test_psl_is_sl_where_scores_are_close(activation):
    # all activations and exp have the tangent 1 + d at 0
    positive, negative = (1e-5 * scores for scores in cosines(0, 4, 6))
    psl = Psl(activation, 0.1, 2.0)(positive, negative, None)
    close(psl, Sl(0.2)(positive, negative, None), rtol=0, atol=1e-8)


EDGES = {"atan": -math.tan(1), "relu": -1.0}  # where the activation becomes 0


@pytest.mark.parametrize("activation", EDGES)
def test_psl_leaves_negatives_below_its_support(activation):
    negative = torch.tensor([[-3.0, -4.0, EDGES[activation], 0.1]], requires_grad=True)
    Psl(activation, 0.1, 1.0)(torch.tensor([0.0]), negative, None).backward()
    assert negative.grad[0, :3].eq(0).all()
    assert negative.grad[0, 3] > 0


@pytest.mark.parametrize(
    ("k", "n_items", "expected"),
    [(1, 1000, 9.0), (10, 100, 9.0), (20, 100, 8.0), (21, 100, 7.0), (100, 100, 0.0), (5, 3, 0.0)],
)
def test_sl_at_k_threshold_of_ten_uniform_negatives(k, n_items, expected):
    negative = torch.tensor([[3.0, 9, 1, 0, 5, 7, 2, 8, 6, 4]])
    assert SlAtK(1.0, k, 1.0, n_items).threshold(negative, None) == expected


def test_sl_at_k_threshold_is_never_a_negative_of_weight_zero():
    negative = torch.tensor([[9.0, 3.0, 1.0, 0.0]])
    weights = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    assert SlAtK(1.0, 1, 1.0, 100).threshold(negative, weights) == 3
    assert SlAtK(1.0, 5, 1.0, 3).threshold(negative, weights) == 1


@pytest.mark.parametrize(("k", "n_items"), [(1, 1000), (20, 200), (90, 100)])
def test_sl_at_k_threshold_is_found_however_deep_it_lies(k, n_items):
    generator = torch.Generator().manual_seed(2)
    negative = torch.randn(30, 60, generator=generator)
    weights = torch.randint(0, 3, (30, 60), generator=generator).float()
    # the best of some rows do not count
    weights[:10] *= negative[:10] < 0.2
    found = SlAtK(1.0, k, 1.0, n_items).threshold(negative, weights)
    for row, weight, threshold in zip(negative, weights, found, strict=True):
        above = [weight[row >= score].sum() / weight.sum() for score in row]
        reached = [s for s, a in zip(row, above, strict=True) if a >= k / n_items - 1e-6]
        assert threshold == max(reached)


def test_sl_at_k_threshold_estimates_the_score_of_rank_k():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5000, generator=generator)
    exact = scores.sort(descending=True).values[99]
    drawn = scores[torch.randint(5000, (400, 1000), generator=generator)]
    estimates = SlAtK(1.0, 100, 1.0, 5000).threshold(drawn, None)
    assert estimates.mean().item() == pytest.approx(exact.item(), abs=0.03)


def test_sl_at_k_threshold_with_weights_corrects_for_how_negatives_are_drawn():
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(5000, generator=generator)
    exact = scores.sort(descending=True).values[99]
    chances = scores.exp() / scores.exp().sum()
    drawn = torch.multinomial(chances.expand(400, -1), 1000, True, generator=generator)
    loss = SlAtK(1.0, 100, 1.0, 5000)
    assert loss.threshold(scores[drawn], None).mean() > exact + 0.5
    corrected = loss.threshold(scores[drawn], 1 / chances[drawn]).mean().item()
    assert corrected == pytest.approx(exact.item(), abs=0.05)


def test_sl_at_k_weighs_positives_by_their_place():
    negative = torch.tensor([[0.2, 0.5, 0.8, -0.3]])
    loss, plain = SlAtK(0.2, 10, 0.1, 20), Sl(0.2)  # threshold: rank 2 of 4, at 0.5
    for right, share in ((0.5, 0.5), (0.7, 1 / (1 + math.exp(-2))), (-5.0, 0.0)):
        positive = torch.tensor([right])
        expected = share * plain(positive, negative, None).item()
        assert loss(positive, negative, None).item() == pytest.approx(expected, abs=1e-5)


def test_sl_at_k_has_no_gradient_through_the_threshold():
    positive, negative = cosines(2, 1, 5)
    negative.requires_grad_()
    loss = SlAtK(0.2, 1, 0.1, 100)
    (gradient,) = torch.autograd.grad(loss(positive, negative, None), negative)
    (plain,) = torch.autograd.grad(Sl(0.2)(positive, negative, None), negative)
    share = torch.sigmoid((positive - negative.max()) / 0.1)
    close(gradient, share.detach() * plain)


def test_sl_at_k_is_half_of_sl_when_hardly_selective():
    positive, negative = cosines(3, 4, 6)
    halved = SlAtK(0.2, 5, 1e9, 50)(positive, negative, None)
    close(halved, Sl(0.2)(positive, negative, None) / 2)
