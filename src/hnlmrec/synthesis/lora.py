"""First phase of fine-tuning: LoRA steps through the language model."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hnlmrec.disk import sync_file
from hnlmrec.distributed import ALONE, World
from hnlmrec.synthesis.model import HardNegativeModel
from hnlmrec.synthesis.pieces import PieceEncoder
from hnlmrec.synthesis.task import Measures, Phase, Progress, Task
from hnlmrec.synthesis.together import check_agreement, sum_gradients
from hnlmrec.training.checkpoint import State, read_checkpoint, write_checkpoint
from hnlmrec.training.watch import not_finite


def tune_language_model(
    task: Task,
    model: HardNegativeModel,
    checkpoint: Path,
    progress: Progress | None,
    world: World = ALONE,
) -> Phase:
    """Train LoRA, soft tokens and (amortized) the head; leave the best held-out step in ``model``.

    What a step draws depends on the seed and the step alone, so that a run that goes on from
    ``checkpoint`` equals one that was not interrupted. A loss that is not finite is a HnlmrecError,
    and the checkpoint before it stays.

    Of several processes each encodes a part of every batch, all do the same steps, and the first
    writes.
    """
    config = task.config
    parameters = model.trainable()
    optimizer = torch.optim.AdamW(parameters.values(), lr=config.lr)
    pieces = None
    if world.size > 1 or config.micro_batch is not None:
        pieces = PieceEncoder(model.encoder, config.micro_batch, world)
    queries = partial(model.queries, encode=pieces)
    held_out = task.pairs.held_out[: max(2, config.batch_users * config.pairs_per_user)]
    facts: dict[str, Any] = {"step": -1, "best_step": 0, "before": None, "after": None}
    best: State = {}
    if resumed := read_checkpoint(checkpoint, parameters, optimizer):
        best, facts = resumed
        model.encoder.tokens_read = facts["tokens"]
    check_agreement(parameters, facts["step"], world)
    if world.is_first:
        task.cut_log("lora", facts["step"])
    for step in range(facts["step"] + 1, config.steps + 1):
        if step > 0:
            _step(task, model, step, optimizer, pieces, world)
        if step % config.evaluate_every == 0 or step == config.steps:
            model.eval()
            measures = world.tell(task.measure(held_out, queries))
            _check(model, measures, f"step {step} of LoRA, on held-out pairs")
            check_agreement(parameters, step, world)
            facts["before"] = facts["before"] or measures
            if facts["after"] is None or measures["loss"] < facts["after"]["loss"]:
                facts |= {"after": measures, "best_step": step}
                best = {name: value.detach().clone() for name, value in parameters.items()}
            facts |= {"step": step, "tokens": model.encoder.tokens_read}
            if world.is_first:
                task.log("lora", step, "held_out", measures)
                sync_file(task.log_file)  # what the checkpoint is past is in the log
                write_checkpoint(checkpoint, parameters, optimizer, best, facts)
        if progress:
            progress("fine-tuning the language model", step, config.steps)
    parameters.load_state_dict(best)
    model.eval()
    return Phase(before=facts["before"], after=facts["after"], best_step=facts["best_step"])


def _step(
    task: Task,
    model: HardNegativeModel,
    step: int,
    optimizer: torch.optim.Optimizer,
    pieces: PieceEncoder | None,
    world: World,
) -> None:
    random = np.random.default_rng([task.seed, step])
    index = task.pairs.by_user(task.config.batch_users, task.config.pairs_per_user, random)
    if len(index) < 2:
        return
    model.train()
    with torch.random.fork_rng():
        # the dropout of LoRA can only draw from torch's global generator
        torch.manual_seed(task.seed * 1_000_003 + step)
        loss, measures = task.loss(index, partial(model.queries, encode=pieces), step)
        _check(model, measures, f"step {step} of LoRA")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if pieces is not None:
            pieces.push()
    sum_gradients(model, world)
    optimizer.step()
    if world.is_first:
        task.log("lora", step, "train", measures)


def _check(model: HardNegativeModel, measures: Measures, where: str) -> None:
    if not math.isfinite(measures["loss"]):
        mend = "lower synthesis.finetune.lr, or raise synthesis.finetune.temperature"
        raise not_finite(model.trainable(), where, measures, mend=mend)
