"""The page: one HTML file that holds all that it shows and loads nothing."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources

from hnlmrec.language.extras import require
from hnlmrec.report.plot import Plot
from hnlmrec.report.source import Source
from hnlmrec.report.tables import Table


@dataclass(frozen=True, eq=False)
class Section:
    """What the page says of one source.

    Parameters
    ----------
    id
        Begins the ids of its elements.
    source
        The run or study.
    finding, cautions
        In words.
    results
        Tables of metrics; the first two for the eye, others folded away.
    diagnostics, more_diagnostics
        Tables of what else was measured, and those of other points, folded away.
    figures
        Headings, and under each its figures with their SVG.
    explorer
        Data as `hnlmrec.report.explorer.packed` gives it, or None.
    explorer_note
        What stands above the explorer, or in its place.
    config
        The configuration as YAML.
    """

    id: str
    source: Source
    finding: str
    cautions: list[str]
    results: list[Table]
    diagnostics: list[Table]
    more_diagnostics: list[Table]
    figures: list[tuple[str, list[tuple[Plot, str]]]]
    explorer: str | None
    explorer_note: str
    config: str


def page(sections: list[Section], command: str, title: str = "") -> str:
    """The HTML of a report, under a title of its own or that of its source.

    Everything that comes from data is escaped; the policy in the page allows the one style and
    the one script that it holds, by their hashes, and no request.

    Raises
    ------
    ModelError
        When jinja2 is not installed.
    """
    require("jinja2", "report", "reports")
    from jinja2 import Environment, StrictUndefined

    style, script = _part("style.css"), _part("explorer.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    titles = [section.source.facts.title for section in sections]
    html = environment.from_string(_part("template.html.j2")).render(
        title=title or (titles[0] if len(titles) == 1 else f"{len(titles)} runs and studies"),
        sections=sections,
        command=command,
        policy=_policy(style, script),
        style=style,
        script=script,
    )
    return html.lstrip()


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy of the page."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _part(name: str) -> str:
    """A file of the page, as it is packaged."""
    return (resources.files("hnlmrec.report") / "page" / name).read_text(encoding="utf-8")
