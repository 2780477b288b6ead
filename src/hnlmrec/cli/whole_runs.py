"""Commands of whole runs: from a configuration to the table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hnlmrec.cli.common import (
    Config,
    EngineOption,
    RunOption,
    SetOption,
    StrictOption,
    UpdateOption,
    app,
    pipeline_of,
)
from hnlmrec.errors import ConfigError
from hnlmrec.reporting import Reporter


@app.command(rich_help_panel="Whole runs")
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("hnlmrec.yaml"),
    preset: Annotated[
        str,
        typer.Option(
            help="demo: every key explained; paper: the paper's own recipe; paper-toys, paper-cds, "
            "paper-yelp, paper-electronics: that recipe with the filters of each of its data sets, "
            "whose files you download, and the counts that they should give."
        ),
    ] = "demo",
    data_only: Annotated[
        bool,
        typer.Option(
            "--data-only", help="Of a preset of the paper only the data, with our defaults."
        ),
    ] = False,
) -> None:
    """Write a configuration to start from."""
    from hnlmrec.config.presets import preset as text_of

    text = text_of(preset, data_only=data_only)
    if path.exists():
        raise ConfigError("the file exists already", where=str(path), mend="name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    Reporter(Console()).line(f"wrote {path}; next: hnlmrec run {path}")


@app.command(rich_help_panel="Whole runs")
def run(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
    strict: StrictOption = False,
    engine: EngineOption = None,
) -> None:
    """Do all stages, and end with the table that compares the models."""
    pipeline = pipeline_of(config, folder, changes, update, strict=strict, engine=engine)
    pipeline.run(["compare"])
    pipeline.reporter.line(f"artefacts: {pipeline.folder.path}")


@app.command(rich_help_panel="Whole runs")
def verify(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
) -> None:
    """Read all files of a run again and compare their checksums; nothing is written.

    A run does so by itself when it starts, but for files of more than 1 GiB.
    """
    from hnlmrec.artifacts import RunFolder

    reporter = Reporter(Console())
    for line in RunFolder(folder).verify():
        reporter.line(line)


@app.command(rich_help_panel="Whole runs")
def demo(
    folder: Annotated[Path, typer.Option("--run", help="Folder of the run.")] = Path("runs/demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Very short training, to see that everything works.")
    ] = False,
    update: UpdateOption = False,
) -> None:
    """Compare uniform, DNS and HNLMRec on MovieLens-100k with a fine-tuned SmolLM2."""
    from hnlmrec.demo import run_demo

    run_demo(folder, quick=quick, update=update, reporter=Reporter(Console()))


@app.command(rich_help_panel="Whole runs")
def examples(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    users: Annotated[int, typer.Option(min=1, help="How many users.")] = 3,
) -> None:
    """Show a few users in words: profile, liked items, synthesised negatives, DNS's picks."""
    pipeline = pipeline_of(config, folder, changes, update=False)
    pipeline.run(["compare"])
    from hnlmrec.studies.examples import examples as describe

    for example in describe(pipeline.context, users):
        for line in example.lines():
            pipeline.reporter.line(line)
