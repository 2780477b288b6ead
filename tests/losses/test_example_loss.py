"""The loss of examples/plugin under the contract of all losses."""

import pytest
import test_loss_contract as contract

import plugin_cases


@pytest.fixture(autouse=True)
def installed(tmp_path, monkeypatch):
    plugin_cases.install(tmp_path, monkeypatch, plugin_cases.entry_points())


@pytest.mark.parametrize(
    "check",
    [
        contract.test_each_pair_has_its_own_negatives,
        contract.test_a_pair_without_negatives_adds_nothing,
        contract.test_a_batch_without_negatives_is_zero,
        contract.test_means_do_not_see_a_common_factor_of_weights,
    ],
)
def test_pairs_and_weights(check):
    check("squared_hinge")


@pytest.mark.parametrize(
    "check",
    [
        contract.test_no_weights_are_weights_of_one,
        contract.test_gradient_pushes_positives_up_and_negatives_down,
    ],
)
@pytest.mark.parametrize("shape", contract.SMALL)
def test_shapes(check, shape):
    check("squared_hinge", shape)


@pytest.mark.parametrize("left_out", [0, 3, 6])
def test_weight_zero_is_leaving_out(left_out):
    contract.test_weight_zero_is_leaving_the_negative_out("squared_hinge", left_out)
