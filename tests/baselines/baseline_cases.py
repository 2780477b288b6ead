"""A small world for tests of baselines: texts, picks, embeddings, and oracles in numpy."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from hnlmrec.baselines import Baseline, BaselineSetting, Picks, build_baseline
from hnlmrec.config import ModelConfig
from hnlmrec.negatives import EmbeddingView, PairBatch
from hnlmrec.training import LanguageArtefacts
from synthetic import N_ITEMS, N_USERS

WIDTH, DIM = 6, 5
SECTIONS = {
    "rlmrec_con": {"name": "rlmrec_con", "weight": 0.3, "hidden": 7},
    "rlmrec_gen": {"name": "rlmrec_gen", "weight": 0.3, "hidden": 7, "share": 0.5},
    "kar": {"name": "kar", "shared": 1, "dedicated": 2, "hidden": 7},
    "llmrec": {"name": "llmrec", "weight": 0.3, "prune": 0.4},
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def artefacts() -> LanguageArtefacts:
    """Text vectors of users and items, and picks of half the users."""
    users, items = (
        normalize(torch.randn(n, WIDTH, generator=seeded(n)), dim=1) for n in (N_USERS, N_ITEMS)
    )
    favourite = torch.arange(N_USERS) % N_ITEMS
    favourite[::2] = -1
    return LanguageArtefacts(None, items, users, Picks(favourite, (favourite + 3) % N_ITEMS))


def build(name: str, **changes: object) -> Baseline:
    model = ModelConfig.model_validate({"baseline": {**SECTIONS[name], **changes}})
    given = artefacts()
    setting = BaselineSetting(
        N_USERS, N_ITEMS, DIM, DIM, seeded(), given.user_vectors, given.item_vectors, given.picks
    )
    assert model.baseline is not None
    return build_baseline(model.baseline, setting)


def table(seed: int = 3) -> torch.Tensor:
    return torch.randn(N_USERS + N_ITEMS, DIM, generator=seeded(seed))


def view() -> EmbeddingView:
    return EmbeddingView.of_table(table(), N_USERS)


def batch(users: tuple[int, ...], items: tuple[int, ...]) -> PairBatch:
    return PairBatch(torch.tensor(users), torch.tensor(items), torch.arange(len(users)))


def numbers(module: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def perceptron(weights: dict[str, np.ndarray], x: np.ndarray, name: str = "map") -> np.ndarray:
    inner = x @ weights[f"{name}.inner.weight"].T + weights[f"{name}.inner.bias"]
    inner = np.where(inner > 0, inner, 0.01 * inner)
    return inner @ weights[f"{name}.outer.weight"].T + weights[f"{name}.outer.bias"]


def info_nce(a: np.ndarray, b: np.ndarray, temperature: float) -> float:
    total = 0.0
    for i in range(len(a)):
        cosines = [a[i] @ row / np.linalg.norm(a[i]) / np.linalg.norm(row) for row in b]
        terms = np.exp(np.array(cosines) / temperature)
        total -= np.log(terms[i] / terms.sum())
    return total / len(a)
