"""Commands that list what there is, and what language models have written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hnlmrec.cli.common import (
    app,
)
from hnlmrec.errors import ConfigError
from hnlmrec.reporting import Reporter


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
