"""The command line: parses, calls, prints."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.markup import escape

# each adds its commands, in the order of the help
from hnlmrec.cli import whole_runs, using, studies, stages, lists  # noqa: F401  # isort: skip
from hnlmrec.cli.common import app
from hnlmrec.distributed import joined
from hnlmrec.errors import HnlmrecError

__all__ = ["app", "main"]


def main() -> None:
    """Run a command; an error that the user can mend is printed without a traceback."""
    # read by torch when it is loaded: its threads then sleep while they wait, and a machine that
    # is busy with something else does not slow every operation a hundredfold
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
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
