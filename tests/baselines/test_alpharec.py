"""AlphaRec against its equations in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from baseline_cases import artefacts, numbers, perceptron, seeded

from hnlmrec.backbones import build_backbone
from hnlmrec.config import BackboneConfig
from hnlmrec.errors import ConfigError
from synthetic import interactions


@pytest.mark.parametrize("linear", [False, True])
def test_what_scores_is_the_propagated_map_of_texts(linear: bool) -> None:
    train, texts = interactions().train, artefacts().item_vectors
    config = BackboneConfig(name="alpharec", dim=4, layers=2, hidden=7, linear=linear)
    model = build_backbone(config, train, seeded(), item_vectors=texts)
    seen, z = train.toarray() > 0, texts.double().numpy()
    of_users = np.stack([z[row].mean(axis=0) for row in seen])
    nodes = np.concatenate([of_users, z]) * z.shape[1] ** 0.5
    weights = numbers(model)
    layer = nodes @ weights["map.outer.weight"].T if linear else perceptron(weights, nodes)
    n_users, n_items = seen.shape
    graph = np.zeros((n_users + n_items,) * 2)
    graph[:n_users, n_users:] = seen
    graph += graph.T
    degree = np.maximum(graph.sum(axis=1), 1) ** -0.5
    graph = degree[:, None] * graph * degree
    expected = (layer + graph @ layer + graph @ graph @ layer) / 3
    found = model.embeddings().table.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert set(weights) == ({"map.outer.weight"} if linear else set(numbers(model)))


def test_a_user_without_items_has_the_text_of_none() -> None:
    train = sp.csr_array(np.array([[1.0, 0.0], [0.0, 0.0]], dtype=np.float32))
    config = BackboneConfig(name="alpharec", dim=4, layers=0)
    model = build_backbone(config, train, seeded(), item_vectors=torch.eye(2))
    assert model.texts.tolist() == [[1, 0], [0, 0], [1, 0], [0, 1]]


def test_without_texts_it_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"item texts.*hnlmrec encode.*whole run"):
        build_backbone(BackboneConfig(name="alpharec"), interactions().train, seeded())
