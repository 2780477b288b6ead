"""Training that goes wrong stops, says where, and leaves the last good checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hnlmrec.config import BackboneConfig, ModelConfig, TrainingConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import HnlmrecError
from hnlmrec.training import build_learner, pretrain, train
from hnlmrec.training.learner import Learner
from hnlmrec.training.optimizer import build_optimizer
from hnlmrec.training.trainer import CHECKPOINT, run_epoch
from hnlmrec.training.watch import Watch, check_epoch, check_parameters
from synthetic import interactions as small_interactions

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")
# each has its own way to step: autograd, direct and dense, direct and sparse, compiled epochs
WAYS = {
    "autograd": {"backbone": {"name": "ngcf"}},
    "dense": {"backbone": {"name": "lightgcn"}, "sampler": {"name": "dns", "candidates": 4}},
    "sparse": {
        "backbone": {"name": "mf"},
        "sampler": {"name": "dns", "candidates": 4},
        "training": {"optimizer": "lazy_adam"},
    },
    "compiled": {"backbone": {"name": "mf"}, "training": {"optimizer": "lazy_adam"}},
    "triples": {"backbone": {"name": "mf"}, "training": {"optimizer": "adagrad", "lr": 0.1}},
}


@pytest.fixture(scope="module")
def interactions() -> Interactions:
    return small_interactions()


def _config(way: str, **training: object) -> ModelConfig:
    tree = {name: dict(section) for name, section in WAYS[way].items()}
    tree["backbone"]["dim"] = 8
    options = {"epochs": 6, "batch_size": 64, "evaluate_every": 2, "lr": 0.01}
    tree["training"] = {**options, **tree.get("training", {}), **training}
    return ModelConfig.model_validate(tree)


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("way", WAYS)
def test_epoch_batch_and_parameter_are_named(
    way: str, value: float, interactions: Interactions
) -> None:
    learner = build_learner(_config(way), interactions, 0, None, CPU)
    optimizer = build_optimizer(learner)
    run_epoch(learner, optimizer, interactions, 0, 1, CPU)
    with torch.no_grad():
        learner.backbone.table[:] = value
    first = rf"pairs 1 to {interactions.train.nnz}" if way == "triples" else "batch 1"
    said = rf"the loss is not finite in epoch 2, {first} \(ranking .*; not finite: backbone\.table"
    with pytest.raises(HnlmrecError, match=rf"{said}.*To mend it: lower training\.lr"):
        run_epoch(learner, optimizer, interactions, 0, 2, CPU)


@pytest.mark.parametrize("way", ["dense", "compiled"])
def test_the_batch_that_met_it_first_is_named(way: str, interactions: Interactions) -> None:
    """One item's row is broken: the batch is the first that has the item."""
    learner = build_learner(_config(way, batch_size=4), interactions, 0, None, CPU)
    optimizer = build_optimizer(learner)
    if way == "dense":
        # of a step in the middle of the epoch, without propagation that spreads what is broken
        step, seen = learner.step, []

        def broken(batch: object, generator: torch.Generator) -> dict[str, Tensor]:
            seen.append(batch)
            parts = step(batch, generator)  # type: ignore[arg-type]
            return parts | ({"ranking": torch.tensor(NAN)} if len(seen) == 7 else {})

        learner.step = broken  # type: ignore[method-assign]
        expected = 7
    else:
        order = torch.Generator().manual_seed(2)  # of seed 0 and epoch 1
        users, _ = interactions.pairs()
        shuffled = torch.from_numpy(users)[torch.randperm(len(users), generator=order)]
        # the user that comes last for the first time
        places = {int(user): place for place, user in reversed(list(enumerate(shuffled.tolist())))}
        user, place = max(places.items(), key=lambda found: found[1])
        with torch.no_grad():
            learner.backbone.table[user] = NAN
        expected = place // 4 + 1
        assert expected > 2
    with pytest.raises(HnlmrecError, match=rf"in epoch 1, batch {expected} \("):
        run_epoch(learner, optimizer, interactions, 0, 1, CPU)


def test_on_a_cpu_the_broken_batch_moves_nothing(interactions: Interactions) -> None:
    learner = build_learner(_config("dense"), interactions, 0, None, CPU)
    before = learner.backbone.table.detach().clone()
    learner.step = lambda *_: {"ranking": torch.tensor(NAN)}  # type: ignore[method-assign]
    with pytest.raises(HnlmrecError, match="all parameters are finite; the largest number"):
        run_epoch(learner, build_optimizer(learner), interactions, 0, 1, CPU)
    assert torch.equal(learner.backbone.table, before)


def test_elsewhere_batches_are_looked_at_together() -> None:
    module = nn.Linear(2, 2)
    watch = Watch(module, 3, torch.device("meta"))
    for number in range(1, 71):
        if number == 64:
            with pytest.raises(HnlmrecError, match="epoch 3, batch 50 "):
                watch.add({"ranking": torch.tensor(1.0), "missing": torch.tensor(2)})
            break
        watch.add({"ranking": torch.tensor(NAN if number == 50 else 1.0)})
    late = Watch(module, 1, torch.device("meta"))
    late.add({"ranking": torch.tensor(INF)})
    with pytest.raises(HnlmrecError, match="epoch 1, batch 1 "):
        late.totals()


def test_totals_are_sums_and_counts_stay_whole() -> None:
    watch = Watch(nn.Linear(2, 2), 1, CPU)
    for value in (0.5, 0.25):
        watch.add({"ranking": torch.tensor(value), "missing": torch.tensor(3)})
    assert watch.totals() == {"ranking": 0.75, "missing": 6}


def test_gradients_are_named_where_parameters_are_whole() -> None:
    module = nn.Linear(2, 2)
    module.weight.grad = torch.tensor([[NAN, 0.0], [0.0, 0.0]])
    with pytest.raises(HnlmrecError, match=r"not the gradient of: weight \(25\.0% of its numbers"):
        Watch(module, 1, CPU).add({"ranking": torch.tensor(NAN)})


@pytest.mark.parametrize("way", WAYS)
def test_the_last_good_checkpoint_stays(
    way: str, interactions: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learners: list[Learner] = []
    build = build_learner

    def remembered(*arguments: object) -> Learner:
        learners.append(build(*arguments))  # type: ignore[arg-type]
        return learners[0]

    monkeypatch.setattr("hnlmrec.training.trainer.build_learner", remembered)

    def break_after_epoch_3(_: str, done: int, __: int) -> None:
        if done == 3:
            with torch.no_grad():
                learners[0].backbone.table[0, 0] = NAN

    with pytest.raises(HnlmrecError, match="not finite in epoch 4"):
        train(_config(way), interactions, 0, None, tmp_path, break_after_epoch_3)
    kept = load_file(tmp_path / CHECKPOINT)
    assert kept
    assert all(value.isfinite().all() for value in kept.values())
    assert not (tmp_path / "model.safetensors").exists()
    # it is good to go on from: the end is that of a run that nothing went wrong in
    monkeypatch.undo()
    resumed = train(_config(way), interactions, 0, None, tmp_path)
    (tmp_path / "whole").mkdir()
    whole = train(_config(way), interactions, 0, None, tmp_path / "whole")
    assert [row["ranking"] for row in resumed.history] == [row["ranking"] for row in whole.history]
    for name, value in load_file(tmp_path / "model.safetensors").items():
        assert torch.equal(value, load_file(tmp_path / "whole" / "model.safetensors")[name])


def test_a_parameter_that_no_batch_meets_is_found_before_it_is_kept(
    interactions: Interactions, tmp_path: Path
) -> None:
    learner = build_learner(_config("dense"), interactions, 0, None, CPU)
    check_parameters(learner, 2)
    with torch.no_grad():
        learner.backbone.table[-1, 0] = INF
    with pytest.raises(HnlmrecError, match=r"epoch 2, as parameters.*backbone\.table \(0\.2%"):
        check_parameters(learner, 2)


def test_growth_without_end_is_divergence() -> None:
    module = nn.Linear(2, 2)
    first = {"epoch": 1, "ranking": 0.69, "l2": 0.01, "missing": 10**9}
    check_epoch(module, first, {**first, "valid_recall": 0.2, "hard_rank": 60.0})
    check_epoch(module, {"epoch": 9, "ranking": 900.0}, first)
    with pytest.raises(HnlmrecError, match=r"diverges: the loss is 2e\+03 in epoch 9 and was 0\.7"):
        check_epoch(module, {"epoch": 9, "ranking": 2000.0, "l2": 1.0}, first)
    check_epoch(module, {**first, "contrastive": 0.3}, first)  # a part that began later
    # a loss that is large by its nature may be so, but not without limit
    large = {"epoch": 1, "ranking": 5000.0}
    check_epoch(module, {"epoch": 2, "ranking": 9000.0}, large)
    with pytest.raises(HnlmrecError, match="diverges"):
        check_epoch(module, {"epoch": 2, "ranking": 2e6}, large)


@pytest.mark.parametrize("way", ["dense", "compiled"])
def test_a_learning_rate_that_diverges_stops(
    way: str, interactions: Interactions, tmp_path: Path
) -> None:
    config = _config(way, lr=1e4, epochs=40, l2=0.0)
    with pytest.raises(
        HnlmrecError, match=r"diverges: the loss.*is in backbone\.table.*training.lr"
    ):
        train(config, interactions, 0, None, tmp_path)
    with pytest.raises(HnlmrecError, match="diverges"):
        pretrain(
            BackboneConfig(name="mf", dim=8),
            TrainingConfig(lr=1e4, batch_size=64, l2=0.0),
            interactions,
            40,
            0,
        )
