"""The training loop: epochs, early stopping on validation, checkpoints to resume from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel

from hnlmrec.config import BackboneConfig, ModelConfig, TrainingConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.device import pick_device
from hnlmrec.disk import write_atomically
from hnlmrec.distributed import ALONE, World
from hnlmrec.errors import ArtifactError
from hnlmrec.evaluation.evaluate import recall_at
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.checkpoint import State, read_checkpoint, write_checkpoint
from hnlmrec.training.collapse import MEASURES, geometry_lines, hard_negative_geometry
from hnlmrec.training.division import Division
from hnlmrec.training.learner import Learner, build_learner, epoch_batches
from hnlmrec.training.model import TrainedModel
from hnlmrec.training.optimizer import build_optimizer
from hnlmrec.training.watch import Watch, check_epoch, check_parameters, everywhere
from hnlmrec.training.whole_epoch import has_whole_epochs, whole_epoch

Progress = Callable[[str, int, int], None]
Parallel = Literal["data", "columns"]
CHECKPOINT = "checkpoint.safetensors"
_STOPPING_K = 20


class TrainReport(BaseModel):
    """How a training run went; ``geometry`` is that of synthesised negatives at the best epoch."""

    best_epoch: int
    epochs: int
    valid_recall: float
    missing_negatives: int
    pairs_trained: int
    seconds_per_epoch: float
    history: list[dict[str, float]]
    geometry: dict[str, float] = {}

    def lines(self) -> list[str]:
        """What to print."""
        lines = [
            f"best epoch {self.best_epoch} of {self.epochs} by validation "
            f"Recall@{_STOPPING_K} {self.valid_recall:.4f} "
            f"({self.seconds_per_epoch:.2f} s an epoch)"
        ]
        if self.missing_negatives:
            lines.append(
                f"{self.missing_negatives:,} of {self.pairs_trained:,} pairs trained had no "
                "synthesised negative and used the base sampler's alone"
            )
        return lines + geometry_lines(self.geometry)


def train(
    config: ModelConfig,
    interactions: Interactions,
    seed: int,
    language: LanguageArtefacts | None,
    folder: Path,
    progress: Progress | None = None,
    world: World = ALONE,
    parallel: Parallel = "data",
) -> TrainReport:
    """Train one model with one seed; keep the epoch that is best on validation.

    A run that was interrupted goes on from ``folder``'s checkpoint and ends with the same
    parameters as one that was not: the random numbers of an epoch depend on the seed and the
    epoch alone.

    Parameters
    ----------
    config
        Backbone, sampler, losses and optimisation.
    interactions
        Trains on ``train``, stops on ``valid``; ``test`` is not read.
    seed
        Of initial parameters, order and negatives.
    language
        Synthesised negatives and item vectors, for a model that uses them.
    folder
        Receives ``model.safetensors`` and ``report.json``, and the checkpoint, which the run
        folder removes when the stage is whole.
    progress
        Called with a text, the epochs done and the epochs at most.
    world, parallel
        The processes that train it together, each by this call with the same arguments, and what
        they divide; see `Division`. The first writes, and all end with the same report.

    Raises
    ------
    ConfigError
        When the model cannot be divided so.
    ArtifactError
        When the processes do not see the same folder.
    HnlmrecError
        When the loss or a parameter is not finite, or the loss grows beyond return; the last
        checkpoint, which is of finite parameters, stays in ``folder``.
    """
    device = pick_device(config.training.device, sparse=True)
    division = _division(config, interactions, world, parallel)
    learner = build_learner(config, interactions, seed, language, device, division)
    optimizer = build_optimizer(learner)
    facts: dict[str, Any] = {"history": [], "best_epoch": 0, "best": -1.0, "epoch": 0, "seconds": 0}
    best: State = {}
    if resumed := read_checkpoint(folder / CHECKPOINT, learner, optimizer, division):
        best, facts = resumed
    everywhere(world, lambda: _check_folder(folder, world.tell(facts["epoch"]), facts["epoch"]))
    limits = config.training
    epoch = facts["epoch"]
    while epoch < limits.epochs and not _stale(facts, limits):
        epoch += 1
        start = time.perf_counter()
        row = run_epoch(learner, optimizer, interactions, seed, epoch, device)
        facts["seconds"] += time.perf_counter() - start
        check_epoch(learner, row, facts["history"][0] if facts["history"] else row)
        if epoch % limits.evaluate_every == 0 or epoch == limits.epochs:
            everywhere(world, partial(check_parameters, learner, epoch))
            with torch.no_grad():
                view = learner.view()
            recall = recall_at(view, interactions, "valid", _STOPPING_K, world=world)
            row |= {"valid_recall": recall, **hard_negative_geometry(learner, interactions, seed)}
            if recall > facts["best"]:
                best = {name: value.clone() for name, value in learner.state_dict().items()}
                facts |= {"best": recall, "best_epoch": epoch}
            facts["history"].append(row)
            facts["epoch"] = epoch
            write_checkpoint(folder / CHECKPOINT, learner, optimizer, best, facts, division)
        else:
            facts["history"].append(row)
        if progress:
            progress(f"validation Recall@{_STOPPING_K} {facts['best']:.4f}", epoch, limits.epochs)
    learner.load_state_dict(best)
    with torch.no_grad():
        view = division.gathered_view(learner.view().detach())
    trained, report = TrainedModel(view, division.gathered(best)), _report(facts, interactions)
    if world.is_first:
        trained.save(folder)
        write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    return report


def pretrain(
    backbone: BackboneConfig,
    training: TrainingConfig,
    interactions: Interactions,
    epochs: int,
    seed: int,
    progress: Progress | None = None,
    world: World = ALONE,
    parallel: Parallel = "data",
) -> EmbeddingView:
    """Train the CF model that supervises synthesis: uniform negatives, a fixed number of epochs.

    Neither validation nor test is read, so nothing of them can reach the language model. What goes
    wrong stops it as it stops `train`. Of several processes, see there, the first is given all
    columns.
    """
    device = pick_device(training.device, sparse=True)
    config = ModelConfig(backbone=backbone, training=training)
    division = _division(config, interactions, world, parallel)
    learner = build_learner(config, interactions, seed, None, device, division)
    optimizer = build_optimizer(learner)
    history: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        history.append(run_epoch(learner, optimizer, interactions, seed, epoch, device))
        check_epoch(learner, history[-1], history[0])
        if progress:
            progress("pretraining the CF model", epoch, epochs)
    everywhere(world, partial(check_parameters, learner, epochs))
    with torch.no_grad():
        return division.gathered_view(learner.view().detach())


def run_epoch(
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    interactions: Interactions,
    seed: int,
    epoch: int,
    device: torch.device,
) -> dict[str, float]:
    """Train on all pairs once.

    Parameters
    ----------
    learner, optimizer
        What is trained, and how.
    interactions
        Trains on ``train``.
    seed, epoch
        Decide the order of the pairs and the negatives.
    device
        Of the learner.

    Returns
    -------
    dict[str, float]
        The epoch, the mean over steps of each part of the loss, and counts.

    Raises
    ------
    HnlmrecError
        When the loss is not finite; it names the batch and the parameters.
    """
    learner.division.agree(learner, optimizer)
    order = torch.Generator().manual_seed(_epoch_seed(seed, epoch))
    negatives = torch.Generator(device).manual_seed(_epoch_seed(seed, epoch) + 1)
    if has_whole_epochs(learner, optimizer):
        row = whole_epoch(learner, optimizer, interactions, order, negatives, epoch)
    else:
        watch = Watch(learner, epoch, device)
        batch_size = learner.config.training.batch_size
        for batch in epoch_batches(interactions, batch_size, order, device, epoch):
            watch.add(learner.step(batch, negatives))
            optimizer.step()
        n_batches = math.ceil(interactions.train.nnz / batch_size)
        row = {
            name: round(total) if name == "missing" else total / n_batches
            for name, total in watch.totals().items()
        }
    return {"epoch": epoch, **row}


def _division(
    config: ModelConfig, interactions: Interactions, world: World, parallel: Parallel
) -> Division:
    rows = interactions.n_users + interactions.n_items
    return Division(world, parallel, (rows, config.backbone.dim))


def _check_folder(folder: Path, first: int, own: int) -> None:
    if own != first:
        raise ArtifactError(
            f"this process finds a checkpoint of epoch {own} here, and the first one of {first}",
            where=str(folder),
            mend="put the run folder where all processes see the same files",
        )


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 1_000_003 + 2 * epoch


def _stale(facts: dict[str, Any], limits: TrainingConfig) -> bool:
    without_gain = facts["epoch"] - facts["best_epoch"]
    return bool(without_gain >= limits.patience * limits.evaluate_every)


def _report(facts: dict[str, Any], interactions: Interactions) -> TrainReport:
    epochs = facts["epoch"]
    best = facts["history"][facts["best_epoch"] - 1]
    return TrainReport(
        best_epoch=facts["best_epoch"],
        epochs=epochs,
        valid_recall=facts["best"],
        missing_negatives=int(sum(row.get("missing", 0) for row in facts["history"])),
        pairs_trained=interactions.train.nnz * epochs,
        seconds_per_epoch=facts["seconds"] / max(epochs, 1),
        history=facts["history"],
        geometry={name: best[name] for name in MEASURES if name in best},
    )
