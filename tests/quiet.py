"""A reporter that prints nowhere."""

from __future__ import annotations

from rich.console import Console

from hnlmrec.reporting import Reporter


def quiet() -> Reporter:
    return Reporter(Console(quiet=True))
