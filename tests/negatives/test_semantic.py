from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hnlmrec.alignment import Adapter
from hnlmrec.config import SemanticConfig
from hnlmrec.negatives import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.semantic import Semantic

DIM, WIDTH = 3, 4


class _Base:
    """Always items 0 and 1."""

    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        items = torch.tensor([[0, 1]]).expand(len(batch.users), -1)
        return Negatives(items, view.items[items])


class _Source:
    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return torch.eye(WIDTH)[index % WIDTH], index < 2


def _sample(**changes: object) -> tuple[Negatives, EmbeddingView, Adapter]:
    adapter = Adapter(WIDTH, DIM, 5, torch.Generator().manual_seed(0))
    view = EmbeddingView(torch.ones(3, DIM), torch.tensor([[1.0, 2, 2], [0, 3, 4], [5, 5, 5]]))
    sampler = Semantic(_Base(), _Source(), adapter, SemanticConfig.model_validate(changes))
    index = torch.tensor([0, 1, 2])
    batch = PairBatch(index, index, index)
    return sampler.sample(batch, view, torch.Generator()), view, adapter


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("rescale", [True, False])
def test_mixing_follows_the_papers_equation(alpha: float, rescale: bool) -> None:
    negatives, view, adapter = _sample(alpha=alpha, rescale=rescale)
    for pair in range(2):
        for order, item in enumerate((0, 1)):
            hard = adapter(torch.eye(WIDTH)[pair])
            if rescale:
                hard = hard / hard.norm() * view.items[item].norm()
            expected = alpha * hard + (1 - alpha) * view.items[item]
            torch.testing.assert_close(negatives.embeddings[pair, order], expected)


def test_a_pair_without_a_synthesised_negative_keeps_its_base_negatives() -> None:
    negatives, view, _ = _sample(alpha=0.7)
    assert negatives.present is not None
    assert negatives.present.tolist() == [True, True, False]
    assert torch.equal(negatives.embeddings[2], view.items[:2])
    assert negatives.items.tolist() == [[0, 1]] * 3


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_a_gradient_reaches_the_adapter_only_when_told(stop_gradient: bool) -> None:
    negatives, _, _ = _sample(alpha=0.5, stop_gradient=stop_gradient)
    assert negatives.synthesised is not None
    assert negatives.synthesised.requires_grad != stop_gradient
    assert negatives.embeddings.requires_grad != stop_gradient
