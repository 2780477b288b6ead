from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import normalize

from hnlmrec.alignment import Adapter, Extra, TextAlignment
from hnlmrec.config import AlignmentConfig, ModelConfig
from hnlmrec.losses import info_nce
from hnlmrec.negatives import EmbeddingView, Uninteracted
from synthetic import interactions

WIDTH, DIM = 19, 6


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def adapter_of(**changes: object) -> Adapter:
    return Adapter(WIDTH, DIM, AlignmentConfig.model_validate({"hidden": 7, **changes}), seeded())


def softmax(values: np.ndarray) -> np.ndarray:
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def test_the_adapter_with_attention_is_that_of_its_equations() -> None:
    adapter = adapter_of(adapter="attention")
    vector = torch.randn(WIDTH, generator=seeded())
    weights = {name: value.double().numpy() for name, value in adapter.state_dict().items()}

    def linear(layer: str, x: np.ndarray) -> np.ndarray:
        return x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]

    scaled = vector.double().numpy() * WIDTH**0.5
    pieces = np.concatenate([scaled, np.zeros(8 * 3 - WIDTH)]).reshape(8, 3)
    query, key, value = np.split(linear("attention.project", pieces), 3, axis=1)
    gathered = softmax(query @ key.T / 3**0.5) @ value
    inner = linear("inner", scaled + linear("attention.out", gathered).reshape(-1)[:WIDTH])
    expected = linear("outer", torch.nn.functional.gelu(torch.from_numpy(inner)).numpy())
    torch.testing.assert_close(
        adapter(vector).double(), torch.from_numpy(expected), atol=1e-5, rtol=1e-5
    )
    batch = torch.randn(4, 2, WIDTH, generator=seeded())
    torch.testing.assert_close(adapter(batch)[3, 1], adapter(batch[3, 1]))
    for parameter in adapter.attention.parameters():
        (gradient,) = torch.autograd.grad(adapter(batch).square().sum(), parameter)
        assert gradient.abs().sum() > 0


def case(**changes: object) -> tuple[TextAlignment, EmbeddingView, torch.Tensor]:
    data, config = interactions(), AlignmentConfig.model_validate({"hidden": 7, **changes})
    vectors = normalize(torch.randn(data.n_items, WIDTH, generator=seeded()), dim=1)
    view = EmbeddingView(torch.randn(data.n_users, DIM), torch.randn(data.n_items, DIM))
    pool = Uninteracted(data.train)
    return (
        TextAlignment(Adapter(WIDTH, DIM, config, seeded()), vectors, config, pool),
        view,
        vectors,
    )


def test_a_users_text_is_the_mean_of_the_training_items() -> None:
    alignment, _, vectors = case(user_weight=1.0)
    train = interactions().train.toarray()
    users = torch.tensor([3, 0, 7])
    expected = normalize(torch.from_numpy(train[users]).float() @ vectors, dim=1)
    torch.testing.assert_close(alignment.user_vectors(users), expected)


@pytest.mark.parametrize(("weight", "user_weight"), [(0.5, 0.0), (0.0, 0.25), (0.5, 0.25)])
def test_the_loss_sees_the_distinct_items_and_users_of_a_batch(
    weight: float, user_weight: float
) -> None:
    alignment, view, vectors = case(weight=weight, user_weight=user_weight, max_items=3)
    users, items = torch.tensor([5, 1, 5, 2, 9]), torch.tensor([4, 4, 8, 2, 2])
    of_items, of_users = torch.tensor([2, 4, 8]), torch.tensor([1, 2, 5])
    adapted = alignment.adapter(vectors[of_items])
    expected = weight * info_nce(adapted, view.items[of_items], 0.2)
    adapted = alignment.adapter(alignment.user_vectors(of_users))
    expected = expected + user_weight * info_nce(adapted, view.users[of_users], 0.2)
    torch.testing.assert_close(alignment.loss(users, items, view), expected)


@pytest.mark.parametrize(
    ("weight", "shared", "own_texts"),
    [
        (None, False, "batch"),
        (0.5, False, "batch"),
        (20.0, False, "batch"),
        (0.5, True, "batch"),
        (0.5, True, "synthesised"),
        (2.0, False, "synthesised"),
    ],
)
def test_users_find_the_texts_of_their_items_among_those_they_did_not_choose(
    weight: float | None, shared: bool, own_texts: str
) -> None:
    alignment, view, vectors = case(
        interaction_weight=0.5, max_items=4, interaction_texts=own_texts
    )
    train = interactions().train.toarray() > 0
    users = torch.tensor([5, 1, 5, 2, 9])
    # the third pair is of the first one's user; the last is one too many
    items = torch.from_numpy(train.argmax(axis=1)[users.numpy()])
    items[2] = int(np.flatnonzero(train[5])[1])
    texts, present = torch.randn(5, 2, DIM), torch.tensor([[True, False]] * 4 + [[True, True]])
    extra = None if weight is None else Extra(texts, present, weight, shared)
    found = alignment.loss(users, items, view, extra)
    adapted = normalize(alignment.adapter(vectors), dim=1).detach().numpy()
    losses = []
    for n, (user, item) in enumerate(zip(users[:4].tolist(), items[:4].tolist(), strict=True)):
        row = normalize(view.users[user], dim=0).numpy() / 0.2
        others = [other for other in items[:4].tolist() if not train[user, other]]
        if own_texts == "synthesised":
            others = []
        terms = np.exp(adapted[[item, *others]] @ row)
        total = terms.sum()
        if weight is not None:
            # of the first four pairs the first text alone is there
            met = texts[:4, 0] if shared else texts[n : n + 1, 0]
            total += weight * np.exp(normalize(met, dim=1).numpy() @ row).sum()
        losses.append(-np.log(terms[0] / total))
    assert found.item() == pytest.approx(0.5 * np.mean(losses), rel=1e-5)


def test_a_synthesised_text_needs_texts_to_compete_with() -> None:
    tree = {"sampler": {"name": "semantic", "enter": "text"}, "alignment": {"weight": 0.1}}
    with pytest.raises(ValidationError, match=r"alignment\.interaction_weight above 0"):
        ModelConfig.model_validate(tree)
    alone = {"alignment": {"interaction_weight": 0.1, "interaction_texts": "synthesised"}}
    with pytest.raises(ValidationError, match=r"sampler\.enter to text"):
        ModelConfig.model_validate(alone)


def test_a_frozen_adapter_keeps_its_weights() -> None:
    assert not any(parameter.requires_grad for parameter in adapter_of(frozen=True).parameters())
    assert all(parameter.requires_grad for parameter in adapter_of().parameters())
