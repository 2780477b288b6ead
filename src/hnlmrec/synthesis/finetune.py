"""Fine-tuning: the target space, LoRA steps, and in amortized mode the states and the head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor

from hnlmrec.artifacts import write_atomically
from hnlmrec.config import SynthesisConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.measure import Meter
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.stage_names import FINETUNE
from hnlmrec.synthesis.head_training import measure_head, train_head
from hnlmrec.synthesis.lora import tune_language_model
from hnlmrec.synthesis.model import HardNegativeModel
from hnlmrec.synthesis.named import Named
from hnlmrec.synthesis.pairs import PairSampler
from hnlmrec.synthesis.query import QueryEncoder
from hnlmrec.synthesis.states import (
    ITEM_STATES,
    ITEM_VECTORS,
    USER_STATES,
    encode_all,
    load_item_vectors,
)
from hnlmrec.synthesis.supervision import Supervision
from hnlmrec.synthesis.targets import TargetReport, describe_targets
from hnlmrec.synthesis.task import Phase, Progress, Task

_CENTRE_USERS = 64
_DESCRIBED_PAIRS = 2048


@dataclass(frozen=True, eq=False)
class SynthesisInputs:
    """What fine-tuning and synthesis read: training interactions, profiles, the CF model."""

    interactions: Interactions
    user_texts: Sequence[str]
    item_texts: Sequence[str]
    view: EmbeddingView
    named: Named | None = None


class FinetuneReport(BaseModel):
    """What kind of items it was shown, how it went by phase, and its seconds."""

    phases: dict[str, Phase]
    seconds: dict[str, float]
    targets: TargetReport | None = None

    def lines(self) -> list[str]:
        """What to print."""
        spent = ", ".join(f"{name} {value:.0f} s" for name, value in self.seconds.items())
        rows = [f"{name} (held-out training pairs): {p.line()}" for name, p in self.phases.items()]
        described = self.targets.lines() if self.targets else []
        return [*described, *rows, f"time: {spent}"]


def finetune(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    language: LocalLanguageModel,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> FinetuneReport:
    """Teach the language model the hard negatives that `Supervision` names.

    With ``transfer_from``, take what was taught elsewhere, and encode the users and items here.

    Writes ``adapter.safetensors``, the untuned states of items (the target space), in amortized
    mode the tuned states of users and items, ``log.jsonl`` and ``report.json``. Interrupted, it
    goes on from what is in ``folder``.
    """
    report = FinetuneReport(phases={}, seconds={})
    meter = Meter()
    centres = _untuned_states(config, inputs, language, folder, seed, progress)
    item_vectors = load_item_vectors(folder)
    report.seconds["untuned states"] = meter.seconds()

    meter = Meter()
    texts = (inputs.user_texts, inputs.item_texts)
    model = HardNegativeModel(config, language, texts, inputs.view, centres, seed)
    among = None if inputs.named is None else inputs.named.usable()
    supervision = Supervision(
        config.supervision, inputs.view, item_vectors, inputs.interactions.train, inputs.named
    )
    task = Task(
        config.finetune,
        supervision,
        PairSampler(inputs.interactions, config.finetune.held_out, seed, among),
        item_vectors,
        seed,
        folder / "log.jsonl",
    )
    report.targets = _describe(task, inputs, item_vectors, seed)
    checkpoint = folder / "lora.checkpoint"
    if config.transfer_from is None:
        report.phases["lora"] = tune_language_model(task, model, checkpoint, progress)
    else:
        model.restore(config.transfer_from / FINETUNE)
        # the other data's mean states are not those of this one's
        model.centres = centres
    report.seconds["lora"] = meter.seconds()

    if config.mode == "amortized":
        meter = Meter()
        users = encode_all(model.encoder, model.users, folder / USER_STATES, "users", progress)
        items = encode_all(model.encoder, model.items, folder / ITEM_STATES, "items", progress)
        model.centres = torch.stack([users.mean(), items.mean()])
        report.seconds["tuned states"] = meter.seconds()
        meter = Meter()
        if config.transfer_from is None:
            report.phases["head"] = train_head(task, model, users, items, progress)
        else:
            report.phases["transferred head"] = measure_head(task, model, users, items)
        report.seconds["head"] = meter.seconds()
    model.save(folder)
    write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    checkpoint.unlink(missing_ok=True)
    return report


def _describe(task: Task, inputs: SynthesisInputs, item_vectors: Tensor, seed: int) -> TargetReport:
    """Describe the targets of some training pairs."""
    index = task.pairs.any(_DESCRIBED_PAIRS, np.random.default_rng(seed))
    users, items = task.pairs.pairs(index)
    return describe_targets(
        users, items, task.targets(users, items, 0), inputs.view, item_vectors,
        inputs.interactions, torch.Generator().manual_seed(seed),
    )  # fmt: skip


def _untuned_states(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    language: LocalLanguageModel,
    folder: Path,
    seed: int,
    progress: Progress | None,
) -> Tensor:
    """Write the states of bare item texts; give mean states of users and items, ``[2, width]``."""
    generator = torch.Generator().manual_seed(seed)
    encoder = QueryEncoder(language, config.finetune, inputs.view.users.shape[1], generator)
    items = encoder.segments("item", inputs.item_texts, None)
    states = encode_all(encoder, items, folder / ITEM_VECTORS, "item texts", progress)
    some = torch.randperm(len(inputs.user_texts), generator=generator)[:_CENTRE_USERS].tolist()
    users = encoder.segments("user", [inputs.user_texts[user] for user in some], None)
    return torch.stack([encoder.encode(users).mean(dim=0), states.mean()])
