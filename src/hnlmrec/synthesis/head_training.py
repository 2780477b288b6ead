"""Second phase of fine-tuning: the amortized head on the states of all users and items."""

from __future__ import annotations

import math

import numpy as np
import torch

from hnlmrec.synthesis.distill import Lesson
from hnlmrec.synthesis.head import FusionHead
from hnlmrec.synthesis.task import Measures, Phase, Progress, Queries, Task
from hnlmrec.training.checkpoint import State
from hnlmrec.training.watch import not_finite

_EVALUATIONS = 10


def train_head(
    task: Task,
    head: FusionHead,
    queries: Queries,
    progress: Progress | None,
    lesson: Lesson | None = None,
) -> Phase:
    """Train the head with the same objective; leave it as it was at its best held-out step.

    Parameters
    ----------
    queries
        h(u, i) by the head, from states that are fixed: no language model is called here.
    lesson
        A teacher's answers, learned too.
    """
    config = task.config

    def measure() -> Measures:
        measures = task.measure(held_out, queries)
        if lesson is None:
            return measures
        agreement = lesson.agreement(queries)
        measures["loss"] += lesson.weight * (1 - agreement)
        return measures | {"agreement": agreement}

    random = np.random.default_rng([task.seed, 0])
    optimizer = torch.optim.AdamW(head.parameters(), lr=config.head_lr)
    held_out = task.pairs.held_out[: config.head_batch]
    every = max(1, config.head_steps // _EVALUATIONS)
    before = after = measure()
    best_step, best = 0, _copy(head)
    for step in range(1, config.head_steps + 1):
        loss, measures = task.loss(task.pairs.any(config.head_batch, random), queries, step)
        if not math.isfinite(measures["loss"]):
            mend = "lower synthesis.finetune.head_lr, or raise synthesis.finetune.temperature"
            raise not_finite(head, f"step {step} of the head", measures, mend=mend)
        if lesson is not None:
            loss = loss + lesson.loss(queries, config.head_batch, random)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % every == 0 or step == config.head_steps:
            measures = measure()
            task.log("head", step, "held_out", measures)
            if measures["loss"] < after["loss"]:
                after, best_step, best = measures, step, _copy(head)
        if progress:
            progress("training the amortized head", step, config.head_steps)
    head.load_state_dict(best)
    return Phase(
        before=before, after=after, best_step=best_step, swapped=task.swapped(held_out, queries)
    )


def measure_head(task: Task, queries: Queries) -> Phase:
    """How a head that was trained elsewhere does on held-out pairs."""
    held_out = task.pairs.held_out[: task.config.head_batch]
    measures = task.measure(held_out, queries)
    swapped = task.swapped(held_out, queries)
    return Phase(before=measures, after=measures, best_step=0, swapped=swapped)


def _copy(module: torch.nn.Module) -> State:
    return {name: value.clone() for name, value in module.state_dict().items()}
