"""Commands of single stages."""

from __future__ import annotations

from typing import Annotated

import typer

from hnlmrec.cli.common import (
    Config,
    ModelOption,
    RunOption,
    SeedOption,
    SetOption,
    StrictOption,
    UpdateOption,
    app,
    pipeline_of,
)
from hnlmrec.config import RunConfig
from hnlmrec.stage_names import ENCODE_ITEMS, ENCODE_USERS


def _stage_command(name: str, text: str, *stages: str) -> None:
    def command(
        config: Config,
        folder: RunOption = None,
        changes: SetOption = None,
        update: UpdateOption = False,
    ) -> None:
        pipeline_of(config, folder, changes, update).run(stages or [name])

    app.command(name, help=text, rich_help_panel="Stages")(command)


def _model_command(name: str, text: str) -> None:
    def command(
        config: Config,
        folder: RunOption = None,
        changes: SetOption = None,
        update: UpdateOption = False,
        model: ModelOption = None,
        seed: SeedOption = None,
    ) -> None:
        pipeline = pipeline_of(config, folder, changes, update)
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
) -> None:
    """Write profiles of users and items, by the LLM or from metadata.

    With --sample: show questions and answers, and what all of them would cost; write nothing.
    """
    pipeline = pipeline_of(config, folder, changes, update)
    if not sample:
        pipeline.run(["profile"])
        return
    pipeline.run(["prepare"])
    from hnlmrec.stages import preview_profiles

    for line in preview_profiles(pipeline.context, sample):
        pipeline.reporter.line(line)


_stage_command(
    "encode",
    "Encode item texts and users' profiles by the LLM as it is, before any tuning.",
    ENCODE_ITEMS,
    ENCODE_USERS,
)
_stage_command("name", "Route A: let the LLM name hard negatives, and look the names up.")
_stage_command("pick", "LLMRec: let the LLM pick the best and the worst of users' candidates.")
_stage_command("finetune", "Fine-tune the LLM on hard negatives that a CF model names.")


@app.command(rich_help_panel="Stages")
def synthesize(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check what is written: checksums, rows.")
    ] = False,
) -> None:
    """Write the hard-negative vector of every training pair.

    With --verify: read all of it again, compare checksums, and say how many pairs it covers.
    """
    pipeline = pipeline_of(config, folder, changes, update)
    if not verify:
        pipeline.run(["synthesize"])
        return
    from hnlmrec.stages import verify_store

    for line in verify_store(pipeline.context):
        pipeline.reporter.line(line)


_model_command("train", "Train the CF models, each with early stopping on validation.")
_model_command("evaluate", "Measure the trained models on test, ranking all items.")
_stage_command("compare", "Put all models and seeds into one table, with paired tests.")


def _chosen(config: RunConfig, stage: str, model: str | None, seed: int | None) -> list[str]:
    """Names of the stages of the chosen models and seeds."""
    models = list(config.models) if model is None else [model]
    seeds = config.seeds if seed is None else [seed]
    return [f"{stage}/{name}-seed{number}" for name in models for number in seeds]
