"""Write a report: the page, figures and tables."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import yaml

from hnlmrec.disk import write_atomically
from hnlmrec.errors import ConfigError, HnlmrecError
from hnlmrec.language.extras import require
from hnlmrec.report.explorer import explorer, packed
from hnlmrec.report.figures import figures
from hnlmrec.report.findings import cautions, finding
from hnlmrec.report.load import load
from hnlmrec.report.page import Section, page
from hnlmrec.report.plot import Plot, drawn
from hnlmrec.report.source import Source
from hnlmrec.report.style import FORMATS, as_bytes, inline_svg
from hnlmrec.report.tables import Table, main_tables, measure_tables, stage_tables, summary_csv

PAGE = "report.html"


def write_report(
    folders: list[Path], output: Path, users: int, command: str, title: str = ""
) -> list[str]:
    """Write ``report.html``, ``figures/`` and ``tables/`` of runs and studies.

    Parameters
    ----------
    folders
        Each of a run or a study.
    output
        Receives the files; those of the same names are replaced.
    users
        How many users the explorer may show; 0 leaves it out.
    command
        What was called, for the page.
    title
        Heads the page; by default the title of a single source, or how many there are.

    Returns
    -------
    list[str]
        What to print: the finding of each source, and where the page is.

    Raises
    ------
    ConfigError
        When no folder is given, or one holds neither a run nor a study.
    ArtifactError
        When what a folder holds is damaged.
    """
    if not folders:
        raise ConfigError("no run or study is given", mend="name their folders")
    require("matplotlib", "report", "reports")
    sources = [load(folder) for folder in folders]
    sections, lines = [], []
    for source, name in zip(sources, _names(sources), strict=True):
        section = _section(source, name, users, output, "" if len(sources) == 1 else f"{name}-")
        sections.append(section)
        lines += [section.source.facts.heading, f"    {section.finding}"]
        lines += [f"    note: {caution}" for caution in section.cautions]
    write_atomically(output / PAGE, page(sections, command, title).encode())
    return [*lines, f"wrote {output / PAGE}, {output / 'figures'} and {output / 'tables'}"]


def _names(sources: list[Source]) -> list[str]:
    """A name for each source that no other has."""
    names: list[str] = []
    for source in sources:
        name, n = source.slug, 2
        while name in names:
            name, n = f"{source.slug}-{n}", n + 1
        names.append(name)
    return names


def _section(source: Source, name: str, users: int, output: Path, prefix: str) -> Section:
    """Make the section of one source, and write its figures and tables."""
    results = main_tables(source)
    first, *others = (measure_tables(source, point) for point in source.facts.points)
    diagnostics = [*first, *stage_tables(source)]
    more = [table for tables in others for table in tables]
    for table in (*results, *diagnostics, *more):
        _write_table(table, output / "tables", prefix)
    summary = summary_csv(source)
    write_atomically(output / "tables" / f"{prefix}summary.csv", summary.encode())
    plots = figures(source)
    for plot in plots:
        _write_figure(plot, output, prefix)
    groups = [
        (group, [(plot, _inline(plot, f"{name}-{n}")) for n, plot in some])
        for group, some in groupby(enumerate(plots), key=lambda one: one[1].group)
    ]
    content, note = _explorer(source, users)
    config = source.facts.config
    return Section(
        id=name,
        source=source,
        finding=finding(source),
        cautions=cautions(source),
        results=results,
        diagnostics=diagnostics,
        more_diagnostics=more,
        figures=groups,
        explorer=content,
        explorer_note=note,
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True) if config else "",
    )


def _write_table(table: Table, folder: Path, prefix: str) -> None:
    for form, text in (("csv", table.csv()), ("tex", table.latex())):
        write_atomically(folder / f"{prefix}{table.name}.{form}", text.encode())


def _write_figure(plot: Plot, output: Path, prefix: str) -> None:
    """Write a figure in all forms, and its data."""
    with drawn(plot) as figure:
        for form in FORMATS:
            path = output / "figures" / f"{prefix}{plot.name}.{form}"
            write_atomically(path, as_bytes(figure, form))
    path = output / "tables" / f"{prefix}figure-{plot.name}.csv"
    write_atomically(path, plot.data.write_csv().encode())


def _inline(plot: Plot, name: str) -> str:
    with drawn(plot, as_text=True) as figure:
        return inline_svg(figure, name, plot.alt)


def _explorer(source: Source, users: int) -> tuple[str | None, str]:
    """The explorer's data, and what to say of it; or why there is none."""
    if not users:
        return None, "It was not asked for (--users 0)."
    if source.run is None:
        return None, "There is none, as no run folder belongs to this study."
    try:
        content = explorer(source.run, users)
    except HnlmrecError as error:
        # the rest of the report does not need it
        return None, f"There is none: {error}"
    n_shown, n_users = len(content["users"]["ids"]), content["users_in_all"]
    some = f"a random sample of {n_shown:,} of its {n_users:,} users"
    where = f" at {source.facts.points[0]}" if len(source.facts.points) > 1 else ""
    return packed(content), (
        f"Choose a user to see the profile, and the negatives that the samplers give under the "
        f"trained model {content['model']}{where} (seed {content['seed']}); held-out positives "
        f"among them are false hard negatives. DNS, MixGCF and AHNS have their default settings. "
        f"It holds {some if n_shown < n_users else f'all {n_users:,} users'}."
    )
