"""Commands of studies: tuning, trials, comparisons across runs, tables and figures, reports."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from hnlmrec.cli.common import (
    Config,
    RunOption,
    SetOption,
    UpdateOption,
    app,
    load_config,
    overrides,
    pipeline_of,
)
from hnlmrec.config import merge
from hnlmrec.config.loading import read_yaml
from hnlmrec.errors import ConfigError
from hnlmrec.reporting import Reporter


@app.command(rich_help_panel="Studies")
def tune(
    config: Config,
    grid: Annotated[
        Path, typer.Option(help="A YAML file with the values to try.", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option(help="File for the configuration with the best.", show_default=False)
    ],
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
) -> None:
    """Choose hyper-parameters of the models on validation, and write a configuration with them."""
    if config.is_dir():
        raise ConfigError("tune takes a YAML file, not a run's folder", where=str(config))
    pipeline = pipeline_of(config, folder, changes, update)
    from hnlmrec.studies import tune as study

    space = study.Grid.from_yaml(grid, pipeline.config.models)
    tree = merge(read_yaml(config), overrides(changes))
    # a run of its own: this folder holds the configuration before tuning
    untuned = pipeline.config.run
    tree["run"] = str(untuned.with_name(f"{untuned.name}-tuned"))
    command = f"hnlmrec {shlex.join(sys.argv[1:])}"
    chosen: dict[str, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for choice in study.tune(pipeline, space):
        # after each model, so that an interruption leaves what is known
        chosen[choice.model] = choice.values
        rows += choice.trials
        table = study.write_trials(rows, pipeline.folder.path)
        study.write_tuned(tree, chosen, command, output)
        pipeline.reporter.line(f"{choice.model}: {choice.values}")
    pipeline.reporter.line(f"wrote {output}, and all {len(rows)} trials to {table}")


@app.command(rich_help_panel="Studies")
def across(
    runs: Annotated[
        list[str],
        typer.Argument(help="Folders of runs, or FOLDER:MODEL,MODEL for some of their models."),
    ],
    reference: Annotated[
        str, typer.Option(help="The model that the others are tested against, as in the table.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for the tables.", show_default=False)],
) -> None:
    """Put finished models of several runs of the same data into one table, with paired tests."""
    from hnlmrec.config import EvaluationConfig
    from hnlmrec.disk import remove_partials
    from hnlmrec.lock import FolderLock
    from hnlmrec.studies.across import entries_of
    from hnlmrec.studies.compare import tabulate

    entries, cutoffs = entries_of(runs)
    if reference not in entries:
        raise ConfigError(
            f"there is no {reference!r} to test against",
            where="--reference",
            mend=f"the rows are {', '.join(entries)}",
        )
    reporter = Reporter(Console())
    evaluation = EvaluationConfig(reference=reference, cutoffs=cutoffs)
    with FolderLock(output).held():
        remove_partials(output)
        lines = tabulate(entries, evaluation, output)
    for line in lines:
        reporter.line(line)


@app.command(rich_help_panel="Studies")
def trials(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
) -> None:
    """Train all models of a configuration and list them by validation; test is not read."""
    pipeline = pipeline_of(config, folder, changes, update)
    from hnlmrec.studies.trials import run_trials

    table, path = run_trials(pipeline)
    for row in table.iter_rows(named=True):
        spread = "" if row["sd"] is None else f" ± {row['sd']:.4f}"
        pipeline.reporter.line(f"{row['valid_recall@20']:.4f}{spread}  {row['model']}")
    pipeline.reporter.line(f"validation Recall@20 over {row['seeds']} seed(s); wrote {path}")


@app.command(rich_help_panel="Studies")
def study(
    name: Annotated[
        str,
        typer.Argument(help="A study, as `hnlmrec studies` lists them, or a YAML file of one."),
    ],
    data: Annotated[
        Path,
        typer.Option(help="Configuration with the data and the tuned models.", show_default=False),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder of studies; default runs/studies/DATA.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="Configuration that a transferred model is fine-tuned by (transfer)."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds, in the place of the study's.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few epochs and one seed, to see that it runs.")
    ] = False,
    changes: SetOption = None,
) -> None:
    """Run a study, a table or figure of the paper: train its grid and write its tables."""
    from hnlmrec.studies.run_study import run_study

    reporter = Reporter(Console())
    folder = run_study(
        name,
        load_config(data, None, changes),
        output or Path("runs/studies") / data.stem,
        reporter,
        dataset=data.stem,
        command=f"hnlmrec {shlex.join(sys.argv[1:])}",
        quick=quick,
        seeds=tuple(range(seeds)) if seeds else None,
        source=load_config(source, None, None) if source else None,
    )
    reporter.line(f"wrote {folder}")


@app.command(rich_help_panel="Studies")
def studies() -> None:
    """List the studies: what the paper claims, and what each varies."""
    from hnlmrec.studies.definition import Study, study_names

    reporter = Reporter(Console())
    for name in study_names():
        found = Study.load(name)
        reporter.line(
            f"{name}: {found.title} ({found.source})" if found.source else f"{name}: {found.title}"
        )
        reporter.line(f"    {found.claim}")


@app.command(rich_help_panel="Studies")
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_OR_STUDY...", help="Folders of finished runs or of studies."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    users: Annotated[
        int, typer.Option(min=0, help="Users in the explorer at most; 0: no explorer.")
    ] = 20_000,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "",
) -> None:
    """Write one page that opens anywhere, and figures and tables for a paper."""
    from hnlmrec.report.write import write_report

    command = f"hnlmrec {shlex.join(sys.argv[1:])}"
    reporter = Reporter(Console())
    for line in write_report(folders, output, users, command, title):
        reporter.line(line)
