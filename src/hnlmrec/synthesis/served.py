"""Fine-tuning where a server has the language model: of its embeddings, the head alone learns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hnlmrec.artifacts import write_atomically
from hnlmrec.config import SynthesisConfig
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.language.served import ServedLanguageModel
from hnlmrec.measure import Meter
from hnlmrec.stage_names import FINETUNE
from hnlmrec.synthesis.finetune import FinetuneReport, SynthesisInputs, describe, task_of
from hnlmrec.synthesis.head import FusionHead, fuse
from hnlmrec.synthesis.head_training import measure_head, train_head
from hnlmrec.synthesis.model import FILE, head_tensors, load_head, read_adapter, write_adapter
from hnlmrec.synthesis.query import PROMPTS
from hnlmrec.synthesis.states import (
    ITEM_STATES,
    ITEM_VECTORS,
    USER_STATES,
    load_item_vectors,
    write_histories,
)
from hnlmrec.synthesis.task import Progress
from hnlmrec.synthesis.vectors import Shape, VectorTable

_CHUNK = 1024
# a bound on what a token stands for: the server's own are not known here
_LETTERS_A_TOKEN = 6


def finetune_served(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    language: ServedLanguageModel,
    max_tokens: int,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> FinetuneReport:
    """Train the amortized head on a server's embeddings of items and users.

    CF embeddings reach the head, where ``collaborative`` is not ``none``, and never the server.
    Writes what `finetune` writes; interrupted, it asks for no embedding twice.

    Parameters
    ----------
    max_tokens
        Texts are cut to about so many tokens, at six letters each.

    Raises
    ------
    ConfigError
        When the configuration wants what a server cannot give.
    ArtifactError
        When the head of ``transfer_from`` is of another form.
    """
    _check(config)
    report, meter = FinetuneReport(phases={}, seconds={}), Meter()
    cut = max_tokens * _LETTERS_A_TOKEN
    encode = partial(_encode, language, cut=cut, progress=progress)
    items = encode("item", inputs.item_texts, folder / ITEM_VECTORS)
    # nothing tunes the model: what the head reads is the target space
    states = VectorTable.create(folder / ITEM_STATES, items.shape)
    states.write(states.missing(), items.read(states.missing())[0])
    if config.user_states == "history":
        users = write_histories(inputs.interactions.train, items, folder / USER_STATES)
    else:
        users = encode("user", inputs.user_texts, folder / USER_STATES)
    report.seconds["embeddings"] = meter.seconds()

    meter = Meter()
    item_vectors, centres = load_item_vectors(folder), torch.stack([users.mean(), items.mean()])
    task = task_of(config, inputs, item_vectors, folder, seed)
    report.targets = describe(task, inputs, seed)
    collaborative = config.finetune.collaborative != "none"
    dim = inputs.view.users.shape[1] if collaborative else 0
    form: dict[str, str | int] = {
        "mode": config.mode,
        "user_states": config.user_states,
        "collaborative": config.finetune.collaborative,
        "served": language.model,
        "width": items.width,
        "dim": dim,
    }
    head = _head(config, form, items.width, dim, seed)

    def fused(of_users: Tensor, of_items: Tensor) -> Tensor:
        read = (users.read(of_users.numpy())[0], states.read(of_items.numpy())[0])
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


def _encode(
    language: ServedLanguageModel,
    kind: str,
    texts: Sequence[str],
    path: Path,
    *,
    cut: int,
    progress: Progress | None,
) -> VectorTable:
    """Write the server's embeddings of texts into a table; rows that are written are kept."""
    table = VectorTable.create(path, Shape(len(texts), language.width))
    todo = table.missing()
    for start in range(0, len(todo), _CHUNK):
        rows = todo[start : start + _CHUNK]
        some = [PROMPTS[kind].format(texts[row])[:cut] for row in rows]
        table.write(rows, language.encode(some))
        if progress:
            progress(
                f"embedding {kind} texts", len(texts) - len(todo) + start + len(rows), len(texts)
            )
    return table


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
