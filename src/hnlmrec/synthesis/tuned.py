"""The states of users and items by the tuned language model, for whoever did not tune it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hnlmrec.config import SynthesisConfig
from hnlmrec.errors import ArtifactError
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.stage_names import FINETUNE
from hnlmrec.synthesis.filling import Filling
from hnlmrec.synthesis.finetune import CHECKPOINT, SynthesisInputs
from hnlmrec.synthesis.model import HardNegativeModel, read_adapter
from hnlmrec.synthesis.states import ITEM_STATES, STATES_CHUNK, USER_STATES
from hnlmrec.synthesis.vectors import Rows, Shape

Learned = dict[str, Tensor]
_BEST = "best."


def what_was_learned(config: SynthesisConfig, unfinished: Path) -> Learned:
    """The tuned parameters of a fine-tuning that has not finished.

    Parameters
    ----------
    config
        Of the fine-tuning.
    unfinished
        Its folder. It is not read where the model comes from another run.

    Raises
    ------
    ArtifactError
        When the model is not tuned yet.
    """
    if config.transfer_from is not None:
        _, tensors = read_adapter(config.transfer_from / FINETUNE)
        tensors.pop("centres")
        return tensors
    file = unfinished / CHECKPOINT
    try:
        with safe_open(file, framework="pt") as stream:
            step = json.loads(stream.metadata()["facts"])["step"]
            if step == config.finetune.steps:
                names = [name for name in stream.keys() if name.startswith(_BEST)]  # noqa: SIM118
                return {name.removeprefix(_BEST): stream.get_tensor(name) for name in names}
    except (OSError, SafetensorError, LookupError, TypeError, ValueError):
        step = 0
    raise ArtifactError(
        f"the language model is not tuned yet: step {step} of {config.finetune.steps}",
        where=str(file),
        mend="run `hnlmrec finetune --tune-only`",
    )


def tuned_states(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    language: Callable[[], LocalLanguageModel],
    learned: Learned,
    seed: int,
) -> list[Filling]:
    """The tables that `finetune` writes of items and, where profiles are read, of users.

    Parameters
    ----------
    config, inputs, seed
        Of the fine-tuning.
    language
        Gives a fresh model.
    learned
        The tuned parameters.
    """
    width = inputs.encoded.items.width

    @cache
    def load() -> HardNegativeModel:
        texts = (inputs.user_texts, inputs.item_texts)
        model = HardNegativeModel(
            config, language(), texts, inputs.view, torch.zeros(2, width), seed
        )
        model.trainable().load_state_dict(learned)
        return model.eval()

    def items(rows: Rows) -> Tensor:
        return load().encoder.encode(load().items.take(rows))

    def users(rows: Rows) -> Tensor:
        return load().encoder.encode(load().users.take(rows))

    found = [
        Filling(
            ITEM_STATES, Shape(len(inputs.item_texts), width), STATES_CHUNK, items, "encoding items"
        )
    ]
    if config.user_states == "profile":
        shape = Shape(len(inputs.user_texts), width)
        found.append(Filling(USER_STATES, shape, STATES_CHUNK, users, "encoding users"))
    return found
