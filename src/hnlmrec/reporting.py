"""What a run says on the terminal: stages, what they found, progress of what takes long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_SHOW_AFTER_SECONDS = 2.0


class Reporter:
    """Prints to a rich console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._bar: Progress | None = None
        self._started = 0.0

    def line(self, text: str = "") -> None:
        """Print a line as it is."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def skip(self, stage: str) -> None:
        """Say that a stage is up to date."""
        self.console.print(f"[dim]= {escape(stage)}: up to date[/dim]", highlight=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[list[str]]:
        """Announce a stage; print the lines put into the given list and the time it took."""
        self.console.print(f"[bold]> {escape(name)}[/bold]", highlight=False)
        lines: list[str] = []
        self._started = time.perf_counter()
        try:
            yield lines
        finally:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
        for text in lines:
            self.line(f"    {text}")
        seconds = time.perf_counter() - self._started
        self.console.print(f"[dim]    done in {seconds:.1f} s[/dim]", highlight=False)

    def progress(self, text: str, done: int, total: int) -> None:
        """Show how far a stage is, once it has taken more than two seconds."""
        if not self.console.is_terminal:
            return
        if time.perf_counter() - self._started < _SHOW_AFTER_SECONDS:
            return
        if self._bar is None:
            self._bar = Progress(
                TextColumn("    {task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._bar.add_task(text, total=total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], description=text, completed=done, total=total)
