"""What the language stages of a model cost, and what fine-tuning learned."""

from __future__ import annotations

import json
from typing import Any

from hnlmrec.pipeline import Pipeline
from hnlmrec.stage_names import FINETUNE, PREPARE


def language_costs(pipeline: Pipeline, trained: str) -> dict[str, float]:
    """Tokens, seconds and bytes of the stages between preparation and training of a model.

    Of a model that needs none of them all are 0. A stage that several models need counts whole
    for each.

    Parameters
    ----------
    pipeline
        Of the run, in which these stages have finished.
    trained
        Name of the stage that trained the model.

    Returns
    -------
    dict[str, float]
        ``language_tokens``, which the language model read or wrote; ``language_seconds``;
        ``language_bytes`` of what the stages wrote.
    """
    tokens, seconds, size = 0, 0.0, 0
    for stage in pipeline.upstream(trained) - {PREPARE}:
        record = pipeline.folder.record(stage)
        assert record is not None
        seconds += record.seconds
        size += sum(file.bytes for file in record.files.values())
        report = pipeline.folder.stage(stage) / "report.json"
        if report.is_file():
            tokens += tokens_of(json.loads(report.read_bytes()))
    return {
        "language_tokens": float(tokens),
        "language_seconds": seconds,
        "language_bytes": float(size),
    }


def tokens_of(report: dict[str, Any]) -> int:
    """The tokens that the report of a stage counts.

    Stages count them as a number or by their parts, under ``tokens``, and where questions are asked
    under ``usage``, of the prompts and of the answers.
    """
    found = report.get("tokens", 0)
    of_parts = sum(found.values()) if isinstance(found, dict) else found
    usage = report.get("usage", {})
    return int(of_parts + usage.get("prompt_tokens", 0) + usage.get("answer_tokens", 0))


def mi_bounds(pipeline: Pipeline, trained: str) -> dict[str, float]:
    """The bounds of mutual information between query and target, for a model that has a head.

    Nats, on held-out training pairs, of the last phase of fine-tuning: ``mi_bound_before`` and
    ``mi_bound_after``. Empty for a model that reads nothing that was fine-tuned.
    """
    if FINETUNE not in pipeline.upstream(trained):
        return {}
    report = json.loads((pipeline.folder.stage(FINETUNE) / "report.json").read_bytes())
    *_, last = report["phases"].values()
    return {f"mi_bound_{when}": float(last[when]["mi_bound"]) for when in ("before", "after")}
