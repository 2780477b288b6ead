"""Commands of single stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hnlmrec.cli.common import (
    Config,
    EngineOption,
    ModelOption,
    RunOption,
    SeedOption,
    SetOption,
    ShardOption,
    StrictOption,
    UpdateOption,
    app,
    pipeline_of,
)
from hnlmrec.config import RunConfig
from hnlmrec.errors import ConfigError
from hnlmrec.stage_names import ENCODE_ITEMS, ENCODE_USERS, FINETUNE, SYNTHESIZE


def _language_command(name: str, text: str, *stages: str) -> None:
    def command(
        config: Config,
        folder: RunOption = None,
        changes: SetOption = None,
        update: UpdateOption = False,
        shard: ShardOption = None,
        engine: EngineOption = None,
    ) -> None:
        _run(config, folder, changes, update, shard, engine, *(stages or [name]))

    app.command(name, help=text, rich_help_panel="Stages")(command)


def _run(
    config: Path,
    folder: Path | None,
    changes: list[str] | None,
    update: bool,
    shard: str | None,
    engine: str | None,
    *stages: str,
) -> None:
    """Run stages, or one shard of each."""
    if shard is None:
        pipeline_of(config, folder, changes, update, engine=engine).run(stages)
        return
    if update or engine:
        raise ConfigError("--shard goes with neither --update nor --engine", where="--shard")
    from hnlmrec.distributed.shard_run import run_shard
    from hnlmrec.distributed.shards import Shard

    part = Shard.parse(shard)
    pipeline = pipeline_of(config, folder, changes, update=False, claim=False)
    for stage in stages:
        run_shard(pipeline, stage, part)


def _model_command(name: str, text: str) -> None:
    def command(
        config: Config,
        folder: RunOption = None,
        changes: SetOption = None,
        update: UpdateOption = False,
        model: ModelOption = None,
        seed: SeedOption = None,
        engine: EngineOption = None,
    ) -> None:
        pipeline = pipeline_of(config, folder, changes, update, engine=engine)
        pipeline.run(_chosen(pipeline.config, name, model, seed))

    app.command(name, help=text, rich_help_panel="Stages")(command)


@app.command(rich_help_panel="Stages")
def prepare(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
    strict: StrictOption = False,
    target: Annotated[
        str | None,
        typer.Option("--export", help="Then write it there as Parquet: a folder or an address."),
    ] = None,
) -> None:
    """Read, filter and split the data; report what was dropped and why."""
    pipeline = pipeline_of(config, folder, changes, update, strict=strict)
    pipeline.run(["prepare"])
    if target is None or not pipeline.world.is_first:
        return
    from hnlmrec.data.export import export

    n_parts = export(pipeline.context.interactions, pipeline.context.item_texts, target)
    pipeline.reporter.line(f"exported: {n_parts:,} parts of interactions in {target}")


@app.command(rich_help_panel="Stages")
def profile(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Only show so many of users and of items.")
    ] = 0,
    shard: ShardOption = None,
    engine: EngineOption = None,
) -> None:
    """Write profiles of users and items, by the LLM or from metadata.

    With --sample: show questions and answers, and what all of them would cost; write nothing.
    """
    if not sample:
        _run(config, folder, changes, update, shard, engine, "profile")
        return
    pipeline = pipeline_of(config, folder, changes, update)
    pipeline.run(["prepare"])
    from hnlmrec.stages import preview_profiles

    for line in preview_profiles(pipeline.context, sample):
        pipeline.reporter.line(line)


_language_command(
    "encode",
    "Encode item texts and users' profiles by the LLM as it is, before any tuning.",
    ENCODE_ITEMS,
    ENCODE_USERS,
)
_language_command("name", "Route A: let the LLM name hard negatives, and look the names up.")
_language_command("pick", "LLMRec: let the LLM pick the best and the worst of users' candidates.")


@app.command(rich_help_panel="Stages")
def finetune(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
    tune_only: Annotated[
        bool,
        typer.Option(
            "--tune-only",
            help="Stop when the LLM is tuned: its states of users and items are then computed by "
            "shards.",
        ),
    ] = False,
    shard: ShardOption = None,
    engine: EngineOption = None,
) -> None:
    """Fine-tune the LLM on hard negatives that a CF model names."""
    if tune_only:
        pipeline_of(config, folder, changes, update, engine=engine).tune_only()
    else:
        _run(config, folder, changes, update, shard, engine, FINETUNE)


@app.command(rich_help_panel="Stages")
def synthesize(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check what is written: checksums, rows.")
    ] = False,
    shard: ShardOption = None,
    engine: EngineOption = None,
) -> None:
    """Write the hard-negative vector of every training pair.

    With --verify: read all of it again, compare checksums, and say how many pairs it covers.
    """
    if not verify:
        _run(config, folder, changes, update, shard, engine, SYNTHESIZE)
        return
    pipeline = pipeline_of(config, folder, changes, update)
    from hnlmrec.stages import verify_store

    for line in verify_store(pipeline.context):
        pipeline.reporter.line(line)


_model_command("train", "Train the CF models, each with early stopping on validation.")
_model_command("evaluate", "Measure the trained models on test, ranking all items.")


@app.command(rich_help_panel="Stages")
def compare(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
    engine: EngineOption = None,
) -> None:
    """Put all models and seeds into one table, with paired tests."""
    pipeline_of(config, folder, changes, update, engine=engine).run(["compare"])


@app.command(rich_help_panel="Stages")
def merge(
    config: Config,
    stage: Annotated[
        str | None,
        typer.Argument(help="Only this stage; by default all with shards.", show_default=False),
    ] = None,
    folder: RunOption = None,
    changes: SetOption = None,
) -> None:
    """Bring the shards of stages together: each stage then finishes without the LLM's work."""
    pipeline = pipeline_of(config, folder, changes, update=False)
    from hnlmrec.distributed.merging import merge_shards

    merge_shards(pipeline, stage)


def _chosen(config: RunConfig, stage: str, model: str | None, seed: int | None) -> list[str]:
    """Names of the stages of the chosen models and seeds."""
    models = list(config.models) if model is None else [model]
    seeds = config.seeds if seed is None else [seed]
    return [f"{stage}/{name}-seed{number}" for name in models for number in seeds]
