import typing

import pytest
import torch
from loss_cases import SMALL, cosines, some_weights
from pydantic import TypeAdapter, ValidationError

from hnlmrec import plugins
from hnlmrec.config.losses import LOSS_NAMES, LossConfig, LossPlugin
from hnlmrec.losses import LOSSES, build_loss

N_ITEMS = 40
ADAPTER = TypeAdapter(LossConfig)
every_loss = pytest.mark.parametrize("name", LOSSES)
every_shape = pytest.mark.parametrize("shape", SMALL)


def default(name):
    return build_loss(ADAPTER.validate_python({"name": name}), N_ITEMS)


def gradients(loss, positive, negative, weights):
    inputs = [x.clone().requires_grad_() for x in (positive, negative)]
    loss(*inputs, weights).backward()
    return [x.grad for x in inputs]


@every_loss
@every_shape
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_finite_scalar(name, shape, dtype):
    positive, negative = cosines(0, *shape, dtype)
    for weights in (None, some_weights(1, *shape, dtype)):
        result = default(name)(positive, negative, weights)
        assert result.shape == ()
        assert result.dtype == dtype
        assert result.isfinite()


@every_loss
@every_shape
def test_no_weights_are_weights_of_one(name, shape):
    positive, negative = cosines(1, *shape)
    loss = default(name)
    torch.testing.assert_close(
        loss(positive, negative, None), loss(positive, negative, torch.ones(shape).double())
    )


@every_loss
@pytest.mark.parametrize("left_out", [0, 3, 6])
def test_weight_zero_is_leaving_the_negative_out(name, left_out):
    positive, negative = cosines(2, 3, 7)
    negative[:, left_out] = 0.99
    weights = some_weights(3, 3, 7).clamp_min(0.5)
    kept = [column for column in range(7) if column != left_out]
    absent = weights.clone()
    absent[:, left_out] = 0
    loss = default(name)
    torch.testing.assert_close(
        loss(positive, negative, absent), loss(positive, negative[:, kept], weights[:, kept])
    )
    assert gradients(loss, positive, negative, absent)[1][:, left_out].eq(0).all()


@every_loss
def test_each_pair_has_its_own_negatives(name):
    positive, negative = cosines(4, 3, 7)
    weights = some_weights(5, 3, 7)
    loss = default(name)
    alone = [loss(positive[[i]], negative[[i]], weights[[i]]) for i in range(3)]
    torch.testing.assert_close(loss(positive, negative, weights), torch.stack(alone).mean())


@every_loss
def test_a_pair_without_negatives_adds_nothing(name):
    positive, negative = cosines(6, 3, 7)
    weights = some_weights(7, 3, 7)
    weights[1] = 0
    loss = default(name)
    others = loss(positive[[0, 2]], negative[[0, 2]], weights[[0, 2]])
    torch.testing.assert_close(loss(positive, negative, weights), others * 2 / 3)
    for gradient in gradients(loss, positive, negative, weights):
        assert gradient.isfinite().all()
        assert gradient[1].eq(0).all()


@every_loss
def test_a_batch_without_negatives_is_zero(name):
    positive, negative = cosines(8, 3, 7)
    loss, weights = default(name), torch.zeros(3, 7).double()
    assert loss(positive, negative, weights) == 0
    assert all(gradient.eq(0).all() for gradient in gradients(loss, positive, negative, weights))


@pytest.mark.parametrize("name", ["bpr", "hinge", "bce", "ccl"])
def test_means_do_not_see_a_common_factor_of_weights(name):
    positive, negative = cosines(9, 3, 7)
    weights, loss = some_weights(10, 3, 7), default(name)
    torch.testing.assert_close(
        loss(positive, negative, 2 * weights), loss(positive, negative, weights)
    )


@pytest.mark.parametrize("name", ["sl", "bsl", "psl", "sl_at_k"])
def test_sums_take_a_doubled_weight_for_two_negatives(name):
    positive, negative = cosines(11, 3, 7)
    twice = torch.cat([negative, negative], dim=1)
    loss, weights = default(name), some_weights(12, 3, 7)
    torch.testing.assert_close(
        loss(positive, negative, 2 * weights),
        loss(positive, twice, torch.cat([weights, weights], dim=1)),
    )


@every_loss
@every_shape
def test_gradient_pushes_positives_up_and_negatives_down(name, shape):
    # hopeless scores, so that no margin is kept yet
    positive, negative = cosines(13, *shape)
    for weights in (None, some_weights(14, *shape)):
        up, down = gradients(default(name), positive / 5, 0.95 + negative.abs() / 20, weights)
        assert up.lt(0).all()
        present = torch.ones(shape).bool() if weights is None else weights > 0
        assert down[present].gt(0).all()


@every_loss
@pytest.mark.parametrize("right", [-50.0, 0.0, 50.0])
@pytest.mark.parametrize("wrong", [-50.0, 0.0, 50.0])
def test_extreme_scores_stay_finite(name, right, wrong):
    positive = torch.tensor([right, 0.0])
    negative = torch.tensor([[wrong, 0.0, -wrong], [wrong, wrong, wrong]])
    for weights in (None, torch.tensor([[1.0, 0.0, 1e-6], [0.0, 1e6, 1.0]])):
        loss = default(name)
        assert loss(positive, negative, weights).isfinite()
        for gradient in gradients(loss, positive, negative, weights):
            assert gradient.isfinite().all()


@every_loss
def test_weights_may_be_learned(name):
    positive, negative = cosines(15, 3, 7)
    weights = some_weights(16, 3, 7)
    weights[1] = 0
    weights.requires_grad_()
    default(name)(positive, negative, weights).backward()
    assert weights.grad.isfinite().all()


def test_every_loss_has_a_config_and_every_config_a_loss():
    kinds = typing.get_args(typing.get_args(LossConfig)[0])
    configured = [typing.get_args(kind)[0] for kind in kinds]
    names = [kind.model_fields["name"].default for kind in configured if kind is not LossPlugin]
    assert tuple(LOSSES) == LOSS_NAMES == tuple(names)
    for name, kind in zip(names, configured, strict=False):
        assert type(ADAPTER.validate_python({"name": name})) is kind


def test_similarities_of_defaults():
    inner = {n for n in LOSSES if ADAPTER.validate_python({"name": n}).similarity == "inner"}
    assert inner == {"bpr", "hinge", "bce"}
    assert ADAPTER.validate_python({"name": "sl", "similarity": "inner"}).similarity == "inner"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "sl", "temperature": 0}, "greater than 0"),
        ({"name": "psl", "activation": "exp"}, "'tanh', 'atan' or 'relu'"),
        ({"name": "bpr", "temperature": 1}, "Extra inputs"),
        ({"name": "sl_at_k", "k": 0}, "greater than or equal to 1"),
        ({"name": "nonsense"}, "there is no 'nonsense'; there are bpr, hinge"),
    ],
)
def test_wrong_configurations(wrong, message):
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(wrong)


def test_a_plug_in_is_built_from_its_options(monkeypatch):
    monkeypatch.setattr(plugins, "_REGISTERED", {})
    plugins.register("hnlmrec.losses", "flat", lambda height: lambda p, n, w: p.sum() * 0 + height)
    config = ADAPTER.validate_python({"name": "flat", "options": {"height": 3.0}})
    assert config.similarity == "inner"
    assert build_loss(config, N_ITEMS)(*cosines(0, 2, 2), None) == 3
