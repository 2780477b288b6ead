"""The command line: parses, calls, prints."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape

from hnlmrec.config import RunConfig, merge
from hnlmrec.config.loading import nested, read_yaml
from hnlmrec.errors import ConfigError, HnlmrecError
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import ENCODE_ITEMS, ENCODE_USERS

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
ModelOption = Annotated[
    str | None, typer.Option("--model", help="Only this model; by default all of the config.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Only this seed; by default all.")]


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
) -> None:
    """Do all stages, and end with the table that compares the models."""
    pipeline = _pipeline(config, folder, changes, update)
    pipeline.run(["compare"])
    pipeline.reporter.line(f"artefacts: {pipeline.folder.path}")


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
    pipeline = _pipeline(config, folder, changes, update=False)
    pipeline.run(["compare"])
    from hnlmrec.studies.examples import examples as describe

    for example in describe(pipeline.context, users):
        for line in example.lines():
            pipeline.reporter.line(line)


@app.command(rich_help_panel="Whole runs")
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
    pipeline = _pipeline(config, folder, changes, update)
    from hnlmrec.studies import tune as study

    space = study.Grid.from_yaml(grid, pipeline.config.models)
    tree = merge(read_yaml(config), _overrides(changes))
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


@app.command(rich_help_panel="Whole runs")
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
    for line in tabulate(entries, EvaluationConfig(reference=reference, cutoffs=cutoffs), output):
        reporter.line(line)


@app.command(rich_help_panel="Whole runs")
def trials(
    config: Config,
    folder: RunOption = None,
    changes: SetOption = None,
    update: UpdateOption = False,
) -> None:
    """Train all models of a configuration and list them by validation; test is not read."""
    pipeline = _pipeline(config, folder, changes, update)
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
    from hnlmrec.studies.definition import Study
    from hnlmrec.studies.grid import build_grid
    from hnlmrec.studies.run_study import run_study

    folder = output or Path("runs/studies") / data.stem
    grid = build_grid(
        Study.load(name),
        load_config(data, None, changes),
        folder / "runs",
        quick=quick,
        seeds=tuple(range(seeds)) if seeds else None,
        source=load_config(source, None, None) if source else None,
    )
    reporter = Reporter(Console())
    command = f"hnlmrec {shlex.join(sys.argv[1:])}"
    facts = {"dataset": data.stem, "command": command, "quick": quick}
    label = f"{Path(name).stem}{'-quick' if quick else ''}"
    for line in run_study(Path(name).stem, grid, reporter, folder / label, facts):
        reporter.line(line)
    reporter.line(f"wrote {folder / label}")


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


@app.command(rich_help_panel="Whole runs")
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_OR_STUDY...", help="Folders of finished runs or of studies."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("report"),
    users: Annotated[
        int, typer.Option(min=0, help="Users in the explorer at most; 0: no explorer.")
    ] = 20_000,
) -> None:
    """Write one page that opens anywhere, and figures and tables for a paper."""
    from hnlmrec.report.write import write_report

    command = f"hnlmrec {shlex.join(sys.argv[1:])}"
    reporter = Reporter(Console())
    for line in write_report(folders, output, users, command):
        reporter.line(line)


def _stage_command(name: str, text: str, *stages: str) -> None:
    def command(
        config: Config,
        folder: RunOption = None,
        changes: SetOption = None,
        update: UpdateOption = False,
    ) -> None:
        _pipeline(config, folder, changes, update).run(stages or [name])

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
        pipeline = _pipeline(config, folder, changes, update)
        pipeline.run(_chosen(pipeline.config, name, model, seed))

    app.command(name, help=text, rich_help_panel="Stages")(command)


_stage_command("prepare", "Read, filter and split the data; report what was dropped and why.")


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
    pipeline = _pipeline(config, folder, changes, update)
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
    pipeline = _pipeline(config, folder, changes, update)
    if not verify:
        pipeline.run(["synthesize"])
        return
    from hnlmrec.stages import verify_store

    for line in verify_store(pipeline.context):
        pipeline.reporter.line(line)


_model_command("train", "Train the CF models, each with early stopping on validation.")
_model_command("evaluate", "Measure the trained models on test, ranking all items.")
_stage_command("compare", "Put all models and seeds into one table, with paired tests.")


def _list_command(kind: str, text: str) -> None:
    def command() -> None:
        from hnlmrec.listing import print_list

        # a pipe says nothing of its width
        console = Console()
        print_list(kind, console if console.is_terminal else Console(width=100))

    app.command(kind, help=text, rich_help_panel="What there is to choose from")(command)


_list_command("samplers", "List the negative samplers, with papers and options.")
_list_command("losses", "List the ranking losses, with papers and options.")
_list_command("backbones", "List the collaborative-filtering models, with papers and options.")
_list_command("baselines", "List the LLM-enhanced baselines, with papers and how to choose each.")


@app.command(rich_help_panel="Language models")
def cache(
    path: Annotated[
        Path | None, typer.Option("--path", help="The file, as in language.answers.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Delete answers.")] = False,
    days: Annotated[
        float, typer.Option(min=0, help="With --prune: those not used for so many days.")
    ] = 30,
    model: Annotated[
        str | None, typer.Option("--model", help="With --prune: of this model only, as listed.")
    ] = None,
) -> None:
    """Show what language models have written so far and how often it was of use; delete it."""
    from hnlmrec.language.cache import AnswerCache, default_path

    file = path or default_path()
    if not file.exists():
        raise ConfigError("no answers are kept here", where=str(file))
    answers, reporter = AnswerCache(file), Reporter(Console())
    if prune:
        reporter.line(f"deleted {answers.prune(older_than_days=days, model=model):,} answers")
    for line in answers.lines():
        reporter.line(line)


def main() -> None:
    """Run a command; an error that the user can mend is printed without a traceback."""
    # read by torch when it is loaded: its threads then sleep while they wait, and a machine that
    # is busy with something else does not slow every operation a hundredfold
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except HnlmrecError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]error[/bold red] {escape(str(error))}"
        )
        sys.exit(1)
    except OSError as error:
        # no permission, a file where a folder should be: what the system says is all there is
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]error[/bold red] {escape(str(error))}"
        )
        sys.exit(1)
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted; the same command goes on from here")
        sys.exit(130)


def load_config(path: Path, folder: Path | None, changes: list[str] | None) -> RunConfig:
    """Read a YAML file or a run folder's ``config.yaml``, with changes of the command line."""
    tree = _overrides(changes)
    if path.is_dir():
        folder = folder or path
        path = path / "config.yaml"
    if folder is not None:
        tree["run"] = str(folder)
    return RunConfig.from_yaml(path, tree)


def _overrides(changes: list[str] | None) -> dict[str, Any]:
    """What ``--set`` says, as a tree."""
    tree: dict[str, Any] = {}
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"--set takes KEY=VALUE, not {change!r}", mend="--set training.lr=0.01"
            )
        tree = merge(tree, nested(key, _parse(change, value)))
    return tree


def _pipeline(path: Path, folder: Path | None, changes: list[str] | None, update: bool) -> Pipeline:
    config = load_config(path, folder, changes)
    from hnlmrec.pipeline import Pipeline

    return Pipeline(config, Reporter(Console()), update=update)


def _chosen(config: RunConfig, stage: str, model: str | None, seed: int | None) -> list[str]:
    """Names of the stages of the chosen models and seeds."""
    models = list(config.models) if model is None else [model]
    seeds = config.seeds if seed is None else [seed]
    return [f"{stage}/{name}-seed{number}" for name in models for number in seeds]


def _parse(change: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError("the value is not YAML", where=f"--set {change}") from None
