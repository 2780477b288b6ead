"""KAR against its equations in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from baseline_cases import WIDTH, artefacts, build, numbers, table

from synthetic import N_USERS


def test_experts_and_their_gates_make_what_is_added_to_layer_0() -> None:
    baseline, given = build("kar"), artefacts()
    after = baseline.layer0(table(), None)
    weights = numbers(baseline)

    def expert(name: str, k: int, z: np.ndarray) -> np.ndarray:
        inner = z @ weights[f"{name}.inner"][k]
        return np.where(inner > 0, inner, 0.01 * inner) @ weights[f"{name}.outer"][k]

    def added(own: str, gate: str, text: torch.Tensor) -> np.ndarray:
        z = text.double().numpy() * WIDTH**0.5
        logits = weights[f"{gate}.weight"] @ z + weights[f"{gate}.bias"]
        shares = np.exp(logits) / np.exp(logits).sum()
        said = [expert("shared", 0, z), expert(own, 0, z), expert(own, 1, z)]
        return sum(share * one for share, one in zip(shares, said, strict=True))

    difference = (after - table()).detach().numpy()
    user = added("of_users", "user_gate", given.user_vectors[8])
    item = added("of_items", "item_gate", given.item_vectors[8])
    np.testing.assert_allclose(difference[8], user, atol=1e-5)
    np.testing.assert_allclose(difference[N_USERS + 8], item, atol=1e-5)


@pytest.mark.parametrize("shared", [0, 3])
def test_any_number_of_experts_may_be_shared(shared: int) -> None:
    after = build("kar", shared=shared, dedicated=1).layer0(table(), None)
    assert after.shape == table().shape
    assert after.isfinite().all()
