"""RLMRec against its equations in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from baseline_cases import (
    DIM,
    WIDTH,
    artefacts,
    batch,
    build,
    info_nce,
    numbers,
    perceptron,
    seeded,
    table,
    view,
)

from synthetic import N_ITEMS, N_USERS


def test_con_finds_the_texts_of_a_batch_s_users_and_items() -> None:
    baseline, given = build("rlmrec_con", temperature=0.4), artefacts()
    found = baseline.loss(batch((4, 1, 4), (2, 9, 7)), view())
    weights, embeddings = numbers(baseline), table().double().numpy()
    expected = 0.0
    for rows, offset, texts in (
        ([1, 4], 0, given.user_vectors), ([2, 7, 9], N_USERS, given.item_vectors),
    ):  # fmt: skip
        mapped = perceptron(weights, texts.double().numpy()[rows] * WIDTH**0.5)
        expected += info_nce(embeddings[[row + offset for row in rows]], mapped, 0.4)
    assert found.item() == pytest.approx(0.3 * expected, rel=1e-5)


def test_con_is_taken_over_so_many_nodes_at_most() -> None:
    few, all_of_them = build("rlmrec_con", max_nodes=2), build("rlmrec_con")
    assert torch.equal(
        few.loss(batch((4, 1, 6), (2, 9, 7)), view()),
        all_of_them.loss(batch((1, 4), (2, 7)), view()),
    )


def test_gen_masks_a_share_of_the_nodes_in_training_alone() -> None:
    baseline, before = build("rlmrec_gen"), table()
    assert torch.equal(baseline.layer0(before, None), before)
    with torch.no_grad():
        baseline.mask.copy_(torch.arange(DIM))
    after = baseline.layer0(before, seeded(1))
    masked = (after == baseline.mask).all(dim=1)
    assert masked.sum() == round(0.5 * (N_USERS + N_ITEMS))
    assert torch.equal(masked.nonzero()[:, 0], baseline.masked.sort().values)
    assert torch.equal(after[~masked], before[~masked])
    assert not torch.equal(baseline.layer0(before, seeded(2)), after)


def test_gen_rebuilds_the_texts_of_masked_nodes_alone() -> None:
    baseline, given = build("rlmrec_gen", temperature=0.4), artefacts()
    baseline.layer0(table(), seeded(1))
    found = baseline.loss(batch((4, 1), (2, 9)), view())
    weights, embeddings = numbers(baseline), table().double().numpy()
    masked = baseline.masked.numpy()
    users, items = masked[masked < N_USERS], masked[masked >= N_USERS]
    expected = info_nce(
        perceptron(weights, embeddings[users]), given.user_vectors.double().numpy()[users], 0.4
    ) + info_nce(
        perceptron(weights, embeddings[items]),
        given.item_vectors.double().numpy()[items - N_USERS],
        0.4,
    )
    assert found.item() == pytest.approx(0.3 * expected, rel=1e-5)
    assert np.isfinite(expected)
