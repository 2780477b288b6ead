"""The command line: parses, calls, prints."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.markup import escape

# each adds its commands, in the order of the help
from hnlmrec.cli import whole_runs, using, studies, stages, lists  # noqa: F401  # isort: skip
from hnlmrec.cli.common import app
from hnlmrec.distributed import joined, started
from hnlmrec.errors import ConfigError, HnlmrecError

__all__ = ["app", "main"]

# what several processes can be called for; others would each do the whole
_TOGETHER = (
    "run", "prepare", "profile", "encode", "name", "pick", "finetune", "synthesize", "train",
    "evaluate", "compare",
)  # fmt: skip


def main() -> None:
    """Run a command; an error that the user can mend is printed without a traceback."""
    # read by torch when it is loaded: its threads then sleep while they wait, and a machine that
    # is busy with something else does not slow every operation a hundredfold
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _check_processes(sys.argv[1:2])
        with joined():
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


def _check_processes(command: list[str]) -> None:
    """Refuse a command of one process that torchrun or the like has started several times."""
    if started() and command and command[0] not in _TOGETHER:
        raise ConfigError(
            f"hnlmrec {command[0]} is the work of one process, and was started as one of several",
            mend=f"call it without torchrun; several can do {', '.join(_TOGETHER)}",
        )
