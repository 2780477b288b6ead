"""Fine-tuning: the target space, LoRA steps, and in amortized mode the states and the head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from hnlmrec.config import SynthesisConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.disk import write_atomically
from hnlmrec.distributed import ALONE, World
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.measure import Meter
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.stage_names import FINETUNE
from hnlmrec.synthesis.distill import Lesson
from hnlmrec.synthesis.head_training import measure_head, train_head
from hnlmrec.synthesis.lora import tune_language_model
from hnlmrec.synthesis.model import HardNegativeModel
from hnlmrec.synthesis.named import Named
from hnlmrec.synthesis.pairs import PairSampler
from hnlmrec.synthesis.query import QueryEncoder
from hnlmrec.synthesis.states import (
    ITEM_STATES,
    USER_STATES,
    Encoded,
    encode_all,
    unit_vectors,
    write_histories,
)
from hnlmrec.synthesis.supervision import Supervision
from hnlmrec.synthesis.targets import TargetReport, describe_targets
from hnlmrec.synthesis.task import Phase, Progress, Task
from hnlmrec.synthesis.together import JointEncoder
from hnlmrec.synthesis.vectors import VectorTable

CHECKPOINT = "lora.checkpoint"
_CENTRE_USERS = 64
_DESCRIBED_PAIRS = 2048


@dataclass(frozen=True, eq=False)
class SynthesisInputs:
    """What fine-tuning and synthesis read: training interactions, profiles, the CF model.

    ``encoded`` has the untuned states of all items, and of users where a server's are learned from.
    """

    interactions: Interactions
    user_texts: Sequence[str]
    item_texts: Sequence[str]
    view: EmbeddingView
    encoded: Encoded
    named: Named | None = None


class FinetuneReport(BaseModel):
    """What kind of items it was shown, how it went by phase, its seconds, and tokens it read.

    ``pairwise_tokens`` is what a pairwise synthesis of all training pairs would read, or will.
    """

    phases: dict[str, Phase]
    seconds: dict[str, float]
    tokens: dict[str, int] = {}
    targets: TargetReport | None = None
    pairwise_tokens: int = 0

    def lines(self) -> list[str]:
        """What to print."""
        spent = ", ".join(f"{name} {value:.0f} s" for name, value in self.seconds.items())
        rows = [f"{name} (held-out training pairs): {p.line()}" for name, p in self.phases.items()]
        described = self.targets.lines() if self.targets else []
        read = ", ".join(f"{name} {value:,}" for name, value in self.tokens.items())
        lines = [*described, *rows, f"time: {spent}", f"tokens: {read}"]
        if self.pairwise_tokens:
            lines.append(
                f"pairwise synthesis of all training pairs: {self.pairwise_tokens:,} tokens"
            )
        return lines


def finetune(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    language: LocalLanguageModel,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
    lesson: Lesson | None = None,
    world: World = ALONE,
    when_tuned: Callable[[], None] | None = None,
) -> FinetuneReport:
    """Teach the language model the hard negatives that `Supervision` names.

    With ``transfer_from``, take what was taught elsewhere, and encode the users and items here.
    With a ``lesson``, the amortized head learns a teacher's answers too. ``when_tuned`` is called
    before the tuned states are computed.

    Writes ``adapter.safetensors``, in amortized mode the tuned states of users and items,
    ``log.jsonl`` and ``report.json``. Interrupted, it goes on from what is in ``folder``.

    Of several processes each calls this, with a model of its own or its part of one
    (`hnlmrec.synthesis.sharding`). All encode; the first trains the head and writes, and all give
    its report.
    """
    report = FinetuneReport(phases={}, seconds={})
    meter = Meter()
    centres, histories, tokens = _untuned_centres(config, inputs, language, folder, seed, world)
    item_vectors = unit_vectors(inputs.encoded.items)
    report.seconds["untuned centres"] = meter.seconds()
    report.tokens["untuned centres"] = tokens

    if lesson is not None:
        report.tokens["teacher"] = lesson.tokens

    meter = Meter()
    texts = (inputs.user_texts, inputs.item_texts)
    model = HardNegativeModel(config, language, texts, inputs.view, centres, seed)
    model.histories = histories
    task = task_of(config, inputs, item_vectors, folder, seed)
    report.targets = describe(task, inputs, seed)
    checkpoint = folder / CHECKPOINT
    if config.transfer_from is None:
        report.phases["lora"] = tune_language_model(task, model, checkpoint, progress, world)
    else:
        model.restore(config.transfer_from / FINETUNE)
        # the other data's mean states are not those of this one's
        model.centres = centres
    report.seconds["lora"] = meter.seconds()
    report.tokens["lora"] = model.encoder.tokens_read

    if config.mode == "amortized" and when_tuned is not None:
        when_tuned()
    joint = JointEncoder(model.encoder, world)
    if not world.is_first:
        joint.help()
        return world.tell(report)
    if config.mode == "amortized":
        meter = Meter()
        users, items, report.tokens["tuned states"] = _tuned_states(model, joint, folder, progress)
        model.centres = torch.stack([users.mean(), items.mean()])
        report.seconds["tuned states"] = meter.seconds()
        meter = Meter()
        assert model.head is not None
        fused = partial(model.fuse, users, items)
        if config.transfer_from is None:
            report.phases["head"] = train_head(task, model.head, fused, progress, lesson)
        else:
            report.phases["transferred head"] = measure_head(task, fused)
        report.seconds["head"] = meter.seconds()
    joint.dismiss()
    report.pairwise_tokens = model.pairwise_tokens(*inputs.interactions.pairs("train"))
    model.save(folder)
    write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    return world.tell(report)


def task_of(
    config: SynthesisConfig, inputs: SynthesisInputs, item_vectors: Tensor, folder: Path, seed: int
) -> Task:
    """The contrastive task on the training pairs that have a target; it logs into ``folder``."""
    train, named = inputs.interactions.train, inputs.named
    among = None if named is None else named.usable()
    return Task(
        config.finetune,
        Supervision(config.supervision, inputs.view, item_vectors, train, named),
        PairSampler(inputs.interactions, config.finetune.held_out, seed, among),
        item_vectors,
        seed,
        folder / "log.jsonl",
    )


def describe(task: Task, inputs: SynthesisInputs, seed: int) -> TargetReport:
    """Describe the targets of some training pairs."""
    index = task.pairs.any(_DESCRIBED_PAIRS, np.random.default_rng(seed))
    users, items = task.pairs.pairs(index)
    return describe_targets(
        users, items, task.targets(users, items, 0), inputs.view, task.item_vectors,
        inputs.interactions, torch.Generator().manual_seed(seed),
    )  # fmt: skip


def _untuned_centres(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    language: LocalLanguageModel,
    folder: Path,
    seed: int,
    world: World,
) -> tuple[Tensor, VectorTable | None, int]:
    """The mean untuned states; where histories stand for users, write those.

    Before tuning, a sample of profiles tells the users' mean: no pass over all of them is needed.
    All processes read it, and the first's mean counts.

    Returns
    -------
    tuple[Tensor, VectorTable | None, int]
        Mean states of users and items ``[2, width]``, the histories, and the tokens read.
    """
    items = inputs.encoded.items
    if config.user_states == "history":
        if world.is_first:
            write_histories(inputs.interactions.train, items, folder / USER_STATES)
        world.wait()
        histories = VectorTable.open(folder / USER_STATES)
        return torch.stack([histories.mean(), items.mean()]), histories, 0
    generator = torch.Generator().manual_seed(seed)
    encoder = QueryEncoder(language, config.finetune, inputs.view.users.shape[1], generator)
    some = torch.randperm(len(inputs.user_texts), generator=generator)[:_CENTRE_USERS].tolist()
    users = encoder.segments("user", [inputs.user_texts[user] for user in some], None)
    tokens = int(encoder.count(users).sum())
    centres = torch.stack([encoder.encode(users).mean(dim=0), items.mean()])
    return world.tell(centres), None, tokens


def _tuned_states(
    model: HardNegativeModel, joint: JointEncoder, folder: Path, progress: Progress | None
) -> tuple[VectorTable, VectorTable, int]:
    """The states of all users and items by the tuned model, and the tokens that they are."""
    count, segments = model.encoder.count, model.items
    # the two encode alike
    encoder = cast(QueryEncoder, joint)
    items = encode_all(encoder, segments, folder / ITEM_STATES, "items", progress)
    tokens = int(count(segments).sum())
    if model.histories is not None:
        return model.histories, items, tokens
    users = encode_all(encoder, model.users, folder / USER_STATES, "users", progress)
    return users, items, tokens + int(count(model.users).sum())
