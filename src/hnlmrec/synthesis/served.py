"""Fine-tuning where a server has the language model: of its embeddings, the head alone learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hnlmrec.config import SynthesisConfig
from hnlmrec.disk import write_atomically
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.measure import Meter
from hnlmrec.stage_names import FINETUNE
from hnlmrec.synthesis.finetune import FinetuneReport, SynthesisInputs, describe, task_of
from hnlmrec.synthesis.head import FusionHead, fuse
from hnlmrec.synthesis.head_training import measure_head, train_head
from hnlmrec.synthesis.model import FILE, head_tensors, load_head, read_adapter, write_adapter
from hnlmrec.synthesis.states import ITEM_STATES, USER_STATES, unit_vectors, write_histories
from hnlmrec.synthesis.task import Progress
from hnlmrec.synthesis.vectors import VectorTable

_CHUNK = 65_536


def finetune_served(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    model: str,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> FinetuneReport:
    """Train the amortized head on a server's embeddings of items and users.

    CF embeddings reach the head, where ``collaborative`` is not ``none``, and never the server,
    which is not asked for anything here. Writes what `finetune` writes.

    Parameters
    ----------
    model
        The model's name on the server.

    Raises
    ------
    ConfigError
        When the configuration wants what a server cannot give.
    ArtifactError
        When the head of ``transfer_from`` is of another form.
    """
    _check(config)
    report, meter = FinetuneReport(phases={}, seconds={}), Meter()
    # nothing tunes the model: what the head reads is the target space
    items = _copy(inputs.encoded.items, folder / ITEM_STATES)
    if config.user_states == "history":
        users = write_histories(inputs.interactions.train, items, folder / USER_STATES)
    else:
        assert inputs.encoded.users is not None
        users = _copy(inputs.encoded.users, folder / USER_STATES)
    item_vectors, centres = unit_vectors(items), torch.stack([users.mean(), items.mean()])
    task = task_of(config, inputs, item_vectors, folder, seed)
    report.targets = describe(task, inputs, seed)
    collaborative = config.finetune.collaborative != "none"
    dim = inputs.view.users.shape[1] if collaborative else 0
    form: dict[str, str | int] = {
        "mode": config.mode,
        "user_states": config.user_states,
        "collaborative": config.finetune.collaborative,
        "served": model,
        "width": items.width,
        "dim": dim,
    }
    head = _head(config, form, items.width, dim, seed)

    def fused(of_users: Tensor, of_items: Tensor) -> Tensor:
        read = (users.read(of_users.numpy())[0], items.read(of_items.numpy())[0])
        embeddings = (inputs.view.users[of_users], inputs.view.items[of_items])
        return fuse(head, read, embeddings, centres, collaborative=collaborative)

    if config.transfer_from is None:
        report.phases["head"] = train_head(task, head, fused, progress)
    else:
        report.phases["transferred head"] = measure_head(task, fused)
    report.seconds["head"] = meter.seconds()
    write_adapter(folder, form, {"centres": centres, **head_tensors(head)})
    write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    return report


def _check(config: SynthesisConfig) -> None:
    """Raise a ConfigError when a server cannot do what is configured."""
    finetune = config.finetune
    for wrong, where, mend in (
        (config.mode == "pairwise", "synthesis.mode", "amortized"),
        (finetune.steps > 0, "synthesis.finetune.steps", "0: the head alone learns"),
        (
            finetune.collaborative == "text",
            "synthesis.finetune.collaborative",
            "soft_tokens (the head reads CF embeddings) or none",
        ),
        (config.distill.teacher is not None, "synthesis.distill.teacher", "null"),
    ):
        if wrong:
            raise ConfigError(
                "a model on a server gives embeddings and cannot be fine-tuned",
                where=where,
                mend=f"set it to {mend}; or name a local model by language.model",
            )


def _copy(table: VectorTable, path: Path) -> VectorTable:
    """Write a table again, where negatives are computed from."""
    copy = VectorTable.create(path, table.shape)
    for rows in np.array_split(copy.missing(), max(1, len(table) // _CHUNK)):
        copy.write(rows, table.read(rows)[0])
    return copy


def _head(
    config: SynthesisConfig, form: dict[str, str | int], width: int, dim: int, seed: int
) -> FusionHead:
    """A fresh head, or the one that another run trained."""
    if config.transfer_from is None:
        with torch.random.fork_rng():
            torch.manual_seed(seed + 1)
            return FusionHead(width, dim)
    folder = config.transfer_from / FINETUNE
    theirs, tensors = read_adapter(folder)
    if theirs != form:
        raise ArtifactError(
            f"the head was trained as {theirs}, not as {form}",
            where=str(folder / FILE),
            mend="name a run of the same model and form by synthesis.transfer_from",
        )
    return load_head(tensors, dim)
