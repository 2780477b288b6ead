"""The direct step computes what autograd computes."""

from __future__ import annotations

import pytest
import torch

from hnlmrec.config import ModelConfig
from hnlmrec.training import build_learner
from hnlmrec.training.learner import epoch_batches
from synthetic import interactions

CPU = torch.device("cpu")
DIRECT = [
    {"sampler": {"name": "uniform"}},
    {"sampler": {"name": "uniform", "guard": 0.1}, "training": {"negatives": 3}},
    {"sampler": {"name": "dns", "candidates": 5, "top": 2, "warmup": 3}},
    {"sampler": {"name": "popularity"}, "loss": {"name": "hinge"}},
    {"sampler": {"name": "ahns"}, "loss": {"name": "bce"}, "training": {"negatives": 4}},
    {"sampler": {"name": "srns"}, "loss": {"name": "sl", "similarity": "inner"}},
]
AUTOGRAD = [
    {"sampler": {"name": "mixgcf"}},
    {"sampler": {"name": "dens"}},
    {"sampler": {"name": "shared", "size": 8}},
    {"sampler": {"name": "in_batch", "guard": 0.1}},
    {"loss": {"name": "sl"}},
    {"backbone": {"name": "ngcf"}},
    {"backbone": {"name": "sgl"}},
    {"backbone": {"name": "simgcl"}},
    {"backbone": {"name": "xsimgcl"}},
]


def learner(tree: dict[str, dict[str, object]], backbone: str):
    model = {"backbone": {"name": backbone, "dim": 8, "layers": 2}, **tree}
    return build_learner(ModelConfig.model_validate(model), interactions(), 0, None, CPU)


def batches():
    return epoch_batches(interactions(), 64, torch.Generator().manual_seed(0), CPU, epoch=2)


@pytest.mark.parametrize("backbone", ["mf", "lightgcn"])
@pytest.mark.parametrize("tree", DIRECT)
def test_gradient_and_parts_are_those_of_autograd(tree, backbone):
    direct, plain = learner(tree, backbone), learner(tree, backbone)
    assert direct.direct is not None
    generators = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    # several batches: tables that a step reuses must carry nothing over
    for batch in batches():
        parts = direct.step(batch, generators[0])
        plain.zero_grad()
        loss, expected = plain.loss(batch, generators[1])
        loss.backward()
        assert parts.keys() == expected.keys()
        for name, value in parts.items():
            torch.testing.assert_close(value, expected[name])
        torch.testing.assert_close(direct.backbone.table.grad, plain.backbone.table.grad)
        with torch.no_grad():
            for one in (direct, plain):
                one.backbone.table -= 0.1 * one.backbone.table.grad


@pytest.mark.parametrize("tree", AUTOGRAD)
def test_what_needs_autograd_goes_through_it(tree):
    model = learner(tree, tree.get("backbone", {}).get("name", "lightgcn"))
    assert model.direct is None
    model.step(next(batches()), torch.Generator().manual_seed(0))
    assert model.backbone.table.grad.abs().sum() > 0


def test_a_subclass_that_changes_the_embeddings_goes_through_autograd():
    from hnlmrec.backbones.lightgcn import LightGCN
    from hnlmrec.backbones.protocol import is_smooth

    class Halved(LightGCN):
        def embeddings(self, generator=None, *, layers=False):
            return self.view(self.table / 2)

    train, generator = interactions().train, torch.Generator()
    assert is_smooth(LightGCN(train, 4, 1, generator))
    assert not is_smooth(Halved(train, 4, 1, generator))
