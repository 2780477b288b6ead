"""What the commands share: the application, its options, reading a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from hnlmrec.config import RunConfig, merge
from hnlmrec.config.loading import nested
from hnlmrec.config.parsing import parse_yaml
from hnlmrec.distributed import current
from hnlmrec.errors import ConfigError
from hnlmrec.reporting import Reporter

if TYPE_CHECKING:
    from hnlmrec.pipeline import Pipeline

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="""Train recommenders with hard negatives synthesised by a large language model.

    A run is a folder. [bold]hnlmrec init[/bold] writes its configuration,
    [bold]hnlmrec run[/bold] does everything that it says; each other command does one stage and
    what that needs. What is up to date is skipped, and what was interrupted goes on.

    The data flow: prepare -> profile -> encode -> finetune -> synthesize -> train -> evaluate ->
    compare.
    """,
)

Config = Annotated[
    Path,
    typer.Argument(help="A YAML file, or the folder of a run that was begun.", show_default=False),
]
RunOption = Annotated[
    Path | None, typer.Option("--run", help="Folder of the run, instead of the config's.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a key, as in training.lr=0.01. Repeat for several."),
]
UpdateOption = Annotated[
    bool,
    typer.Option("--update", help="Redo in this folder what a changed configuration touches."),
]
StrictOption = Annotated[
    bool,
    typer.Option(
        "--strict", help="Stop at the first row of the data that cannot be used (data.strict)."
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Only this model; by default all of the config.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Only this seed; by default all.")]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="local, or ray: workers of a Ray cluster (engine.name)."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        help="Only one part of the language model's work, as in 2/8; `hnlmrec merge` brings all "
        "parts together.",
    ),
]


def load_config(path: Path, folder: Path | None, changes: list[str] | None) -> RunConfig:
    """Read a YAML file or a run folder's ``config.yaml``, with changes of the command line."""
    tree = overrides(changes)
    if path.is_dir():
        folder = folder or path
        path = path / "config.yaml"
    if folder is not None:
        tree["run"] = str(folder)
    return RunConfig.from_yaml(path, tree)


def overrides(changes: list[str] | None) -> dict[str, Any]:
    """What ``--set`` says, as a tree."""
    tree: dict[str, Any] = {}
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"--set takes KEY=VALUE, not {change!r}", mend="--set training.lr=0.01"
            )
        tree = merge(tree, nested(key, parse_yaml(value, f"--set {change}")))
    return tree


def pipeline_of(
    path: Path,
    folder: Path | None,
    changes: list[str] | None,
    update: bool,
    *,
    strict: bool = False,
    engine: str | None = None,
    claim: bool = True,
) -> Pipeline:
    """The pipeline of a configuration as `load_config` reads it.

    ``strict`` sets data.strict, ``engine`` engine.name; see `Pipeline` for ``claim``.
    """
    if strict:
        changes = [*(changes or []), "data.strict=true"]
    if engine is not None:
        changes = [*(changes or []), f"engine.name={engine}"]
    config = load_config(path, folder, changes)
    from hnlmrec.pipeline import Pipeline

    return Pipeline(config, Reporter(Console()), update=update, world=current(), claim=claim)
