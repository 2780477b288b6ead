"""Read a run folder as a `Source`: the same frames as a study of one point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ArtifactError
from hnlmrec.report.source import OPTIONAL_SCHEMAS, SUMMARY_SCHEMA, Axis, Facts, Source, in_schema
from hnlmrec.stage_names import (
    ASKING,
    ENCODE_ITEMS,
    ENCODE_USERS,
    FINETUNE,
    NAME,
    PICK,
    PREPARE,
    PRETRAIN,
    PROFILE,
    SYNTHESIZE,
    evaluate_name,
    train_name,
)
from hnlmrec.studies.compare import Entry
from hnlmrec.studies.costs import stage_report, tokens_of
from hnlmrec.studies.frames import Frames, labelled, tables_of
from hnlmrec.studies.summary import summarise

# the stages that only models with a language model need
LANGUAGE = (PROFILE, ENCODE_ITEMS, ENCODE_USERS, NAME, PRETRAIN, PICK, FINETUNE, SYNTHESIZE)
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
    frames = vars(_frames(run, entries, point, config.evaluation.cutoffs))
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
        in_schema(summarise(frames["per_user"], reference, metrics), SUMMARY_SCHEMA),
        {
            name: in_schema(frames[name], schema)
            for name, schema in OPTIONAL_SCHEMAS.items()
            if frames[name].height
        },
        stages,
        notes + run_notes(folder, config.models, config.seeds),
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
                    "tokens": tokens_of(stage_report(run, name)),
                    "peak_memory_mib": record.peak_memory_mib,
                }
            )
    return pl.DataFrame(rows, schema_overrides={"tokens": pl.Int64}) if rows else None


def run_notes(folder: Path, models: Iterable[str], seeds: Iterable[int]) -> list[str]:
    """What a run warned of: lines of its stages, and answers of the language model without use.

    Parameters
    ----------
    folder
        Of the run.
    models, seeds
        Those that are looked at: other studies may have trained more in the same folder.
    """
    run = RunFolder(folder)
    report = stage_report(run, PROFILE)
    notes = [
        f"{kind}: {counts['fallback']:,} profiles are templates, as the language model's answers "
        "were rejected"
        for kind in ("users", "items")
        if (counts := report.get(kind, {})).get("fallback")
    ]
    for name in ASKING:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in run.fallbacks(name).items())
        if reasons:
            notes.append(f"{name}: answers of the language model without use: {reasons}")
    trained = [train_name(model, seed) for model in models for seed in seeds]
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


def _frames(
    run: RunFolder, entries: dict[str, Entry], point: str, cutoffs: Sequence[int]
) -> Frames:
    """The tables of all finished runs, as those of a study of one point."""
    interactions = Interactions.load(run.stage(PREPARE))
    return Frames.joined(
        [
            labelled(tables_of(run, name, seed, interactions, cutoffs), point, name, seed)
            for name, entry in entries.items()
            for seed in entry.seeds
        ]
    )


def _versions(run: RunFolder, entries: dict[str, Entry]) -> dict[str, str]:
    """Versions that made the last evaluation of the first model."""
    entry = next(iter(entries.values()))
    record = run.record(evaluate_name(entry.model, entry.seeds[-1]))
    return record.versions if record else {}
