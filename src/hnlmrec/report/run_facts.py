"""Read a run folder as a `Source`: the same frames as a study of one point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.artifacts import RunFolder, reading
from hnlmrec.config import RunConfig
from hnlmrec.errors import ArtifactError
from hnlmrec.report.run_frames import curves_of, groups_of, measures_of, summary_of
from hnlmrec.report.source import Axis, Facts, Source
from hnlmrec.stage_names import (
    FINETUNE,
    NAME,
    PREPARE,
    PRETRAIN,
    PROFILE,
    SYNTHESIZE,
    evaluate_name,
    train_name,
)
from hnlmrec.studies.compare import Entry

# the stages that only models with a language model need
LANGUAGE = (PROFILE, NAME, PRETRAIN, FINETUNE, SYNTHESIZE)
_WARNINGS = ("warning:", "had no synthesised negative")


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / "config.yaml").is_file()


def read_run(folder: Path) -> Source:
    """Read a run folder; models that are not evaluated yet are left out, which a note says.

    Raises
    ------
    ArtifactError
        When no model of the run is evaluated.
    """
    run, config = RunFolder(folder), RunConfig.from_yaml(folder / "config.yaml")
    entries, notes = _finished(run, config)
    if not entries:
        raise ArtifactError(
            "no model of this run is evaluated yet",
            where=str(folder),
            mend=f"run `hnlmrec run {folder}` first",
        )
    # "embedded:NAME" is a data set of an installed package
    point = Path(config.data.path).name.removeprefix("embedded:")
    reference = config.evaluation.reference
    if reference not in entries:
        reference = next(iter(entries))
        notes.append(f"the reference is not finished, so {reference} stands in for it")
    metrics = _metrics(config)
    stages = language_stages(folder)
    frames = {
        "measures": measures_of(entries, point, _language_costs(entries, stages), _bounds(folder)),
        "curves": curves_of(entries, point),
        "groups": groups_of(entries, point, metrics[0]),
    }
    facts = Facts(
        name=folder.resolve().name,
        title=f"Comparison on {point}",
        dataset=point,
        axis=Axis(label="data"),
        points=[point],
        models=list(entries),
        reference=reference,
        seeds=sorted({seed for entry in entries.values() for seed in entry.seeds}),
        metrics=metrics,
        command=f"hnlmrec run {folder}",
        versions=_versions(run, entries),
        config=config.model_dump(mode="json"),
    )
    return Source(
        facts,
        summary_of(entries, point, reference, metrics),
        {name: frame for name, frame in frames.items() if frame.height},
        stages,
        notes + run_notes(folder),
        folder,
    )


def language_stages(folder: Path) -> pl.DataFrame | None:
    """What the stages before training cost: ``stage``, ``seconds``, ``tokens``, memory in MiB.

    ``tokens`` are those that the language model read and, for profiles, wrote; null where a stage
    reads none or does not say.
    """
    run = RunFolder(folder)
    rows = []
    for name in LANGUAGE:
        record = run.record(name)
        if record is not None:
            rows.append(
                {
                    "stage": name,
                    "seconds": record.seconds,
                    "tokens": _tokens(_report(run, name)),
                    "peak_memory_mib": record.peak_memory_mib,
                }
            )
    return pl.DataFrame(rows, schema_overrides={"tokens": pl.Int64}) if rows else None


def run_notes(folder: Path) -> list[str]:
    """What a run warned of: lines of its stages, and profiles that fell back to a template."""
    run, config = RunFolder(folder), RunConfig.from_yaml(folder / "config.yaml")
    report = _report(run, PROFILE)
    notes = [
        f"{kind}: {counts['fallback']:,} profiles are templates, as the language model's answers "
        "were rejected"
        for kind in ("users", "items")
        if (counts := report.get(kind, {})).get("fallback")
    ]
    trained = [train_name(model, seed) for model in config.models for seed in config.seeds]
    who: dict[str, list[str]] = {}
    for name in (*LANGUAGE, *trained):
        record = run.record(name)
        for line in record.lines if record else []:
            if any(sign in line for sign in _WARNINGS):
                who.setdefault(line, []).append(name)
    return notes + [f"{', '.join(names)}: {line}" for line, names in who.items()]


def _finished(run: RunFolder, config: RunConfig) -> tuple[dict[str, Entry], list[str]]:
    """Models with the seeds that are trained and evaluated, and what to say of the others."""
    entries, notes = {}, []
    for model in config.models:
        seeds = tuple(
            seed
            for seed in config.seeds
            if run.record(evaluate_name(model, seed)) and run.record(train_name(model, seed))
        )
        if len(seeds) < len(config.seeds):
            notes.append(f"{model}: {len(seeds)} of {len(config.seeds)} seeds are finished")
        if seeds:
            entries[model] = Entry(run, model, seeds)
    return entries, notes


def _metrics(config: RunConfig) -> list[str]:
    """The metrics of a run: those at the largest cutoff first."""
    cutoffs = sorted(config.evaluation.cutoffs, reverse=True)
    return [f"{name}@{k}" for k in cutoffs for name in ("recall", "ndcg", "hr", "precision", "mrr")]


def _report(run: RunFolder, stage: str) -> dict[str, Any]:
    """The ``report.json`` of a stage, empty where there is none."""
    file = run.stage(stage) / "report.json"
    if not file.is_file():
        return {}
    with reading("the report", file, f"hnlmrec {stage}"):
        found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def _tokens(report: dict[str, Any]) -> int | None:
    """Tokens of a stage by its report: one number, or one a phase or kind."""
    given = report.get("tokens")
    if isinstance(given, int):
        return given
    counts = given or {k: v for k, v in report.get("usage", {}).items() if "token" in k}
    return sum(counts.values()) if counts else None


def _bounds(folder: Path) -> dict[str, float]:
    """The bound on mutual information before and after the last phase of fine-tuning."""
    phases = _report(RunFolder(folder), FINETUNE).get("phases", {})
    if not phases:
        return {}
    last = list(phases.values())[-1]
    return {f"mi_bound_{when}": last[when]["mi_bound"] for when in ("before", "after")}


def _language_costs(
    entries: dict[str, Entry], stages: pl.DataFrame | None
) -> dict[str, dict[str, float]]:
    """Seconds and tokens of the stages that a model's training read, directly or not."""
    costs = {}
    for name, entry in entries.items():
        read = _upstream(entry.run, train_name(entry.model, entry.seeds[0])) - {PREPARE}
        if stages is not None and read:
            some = stages.filter(pl.col("stage").is_in(list(read)))
            costs[name] = {
                "language_seconds": float(some["seconds"].sum()),
                "language_tokens": float(some["tokens"].sum()),
            }
    return costs


def _upstream(run: RunFolder, stage: str) -> set[str]:
    """Stages that a finished one was made from, by the records."""
    record = run.record(stage)
    inputs = set(record.inputs) if record else set()
    return inputs.union(*(_upstream(run, name) for name in inputs))


def _versions(run: RunFolder, entries: dict[str, Entry]) -> dict[str, str]:
    """Versions that made the last evaluation of the first model."""
    entry = next(iter(entries.values()))
    record = run.record(evaluate_name(entry.model, entry.seeds[-1]))
    return record.versions if record else {}
