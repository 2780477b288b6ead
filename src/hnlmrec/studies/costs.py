"""What the language stages of a model cost, and what fine-tuning learned."""

from __future__ import annotations

import json
from typing import Any

from hnlmrec.artifacts import RunFolder, reading
from hnlmrec.stage_names import FINETUNE, PREPARE


def language_stages(run: RunFolder, trained: str) -> set[str]:
    """Names of the stages between preparation and a finished training run that it was made from."""
    return _upstream(run, trained) - {PREPARE}


def language_costs(run: RunFolder, trained: str) -> dict[str, float]:
    """Tokens, seconds and bytes of the stages between preparation and training of a model.

    Of a model that needs none of them all are 0. A stage that several models need counts whole
    for each.

    Parameters
    ----------
    run
        The run's folder.
    trained
        Name of the finished stage that trained the model.

    Returns
    -------
    dict[str, float]
        ``language_tokens``, which the language model read or wrote; ``language_seconds``;
        ``language_bytes`` of what the stages wrote.
    """
    tokens, seconds, size = 0, 0.0, 0
    for stage in language_stages(run, trained):
        record = run.record(stage)
        if record is not None:
            seconds += record.seconds
            size += sum(file.bytes for file in record.files.values())
            tokens += tokens_of(stage_report(run, stage)) or 0
    return {
        "language_tokens": float(tokens),
        "language_seconds": seconds,
        "language_bytes": float(size),
    }


def mi_bounds(run: RunFolder, trained: str) -> dict[str, float]:
    """The bounds of mutual information between query and target, for a model that has a head.

    Nats, on held-out training pairs, of the last phase of fine-tuning: ``mi_bound_before`` and
    ``mi_bound_after``. Empty for a model that reads nothing that was fine-tuned.
    """
    if FINETUNE not in language_stages(run, trained):
        return {}
    *_, last = stage_report(run, FINETUNE)["phases"].values()
    return {f"mi_bound_{when}": float(last[when]["mi_bound"]) for when in ("before", "after")}


def stage_report(run: RunFolder, stage: str) -> dict[str, Any]:
    """The ``report.json`` of a stage, empty where there is none."""
    file = run.stage(stage) / "report.json"
    if not file.is_file():
        return {}
    with reading("the report", file, f"hnlmrec {stage}"):
        found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def tokens_of(report: dict[str, Any]) -> int | None:
    """The tokens that the report of a stage counts; None where it counts none.

    Stages count them as a number or by their parts, under ``tokens``, and where questions are
    asked under ``usage``, of the prompts and of the answers.
    """
    given = report.get("tokens")
    if isinstance(given, int):
        return given
    counts = given or {k: v for k, v in report.get("usage", {}).items() if k.endswith("_tokens")}
    return sum(counts.values()) if counts else None


def _upstream(run: RunFolder, stage: str) -> set[str]:
    record = run.record(stage)
    inputs = set(record.inputs) if record else set()
    return inputs.union(*(_upstream(run, name) for name in inputs))
