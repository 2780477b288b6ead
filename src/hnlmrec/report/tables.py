"""Tables of a report, once as data, and from that as CSV, LaTeX and HTML."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import Any

from hnlmrec.report.source import Source, over_seeds, slug

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_MAIN = ("recall", "ndcg")
# what the tables of measures show, in this order, and how many digits
_DIAGNOSTICS = {
    "fhns_used": ("FHNS, used", 2),
    "fhns_synthesised": ("FHNS, synthesised", 2),
    "gradient_cosine": ("gradient cosine", 4),
    "gradient_relative_l2": ("gradient rel. L2", 4),
    "hard_cosine": ("cos(user, e_hard)", 2),
    "positive_cosine": ("cos(user, positive)", 2),
    "hard_norm": ("length of e_hard", 2),
    "hard_rank": ("effective rank", 1),
    "mi_bound_before": ("MI bound before", 2),
    "mi_bound_after": ("MI bound after", 2),
}
_COSTS = {
    "best_epoch": ("best epoch", 0),
    "epochs": ("epochs", 0),
    "seconds": ("training, s", 1),
    "language_seconds": ("language stages, s", 1),
    "language_tokens": ("language tokens", 0),
    "bytes": ("bytes", 0),
}
_FHNS = "FHNS: false hard negatives, as a multiple of a uniform sampler's rate."


@dataclass(frozen=True)
class Cell:
    """A number of a table: its text, the spread, stars, and its place in the column.

    ``place`` is 1 for the best of its column, 2 for the second best, else 0.
    """

    text: str
    spread: str = ""
    stars: str = ""
    place: int = 0


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows.

    Parameters
    ----------
    name
        Part of file names.
    caption
        What it shows, and how to read the marks.
    header
        Names of the columns, that of the rows first.
    rows
        The name of each row, and its cells.
    """

    name: str
    caption: str
    header: list[str]
    rows: list[tuple[str, list[Cell]]]

    def csv(self) -> str:
        """Text as shown, a spread in a column of its own."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        spread = [any(cells[i].spread for _, cells in self.rows) for i in range(self.n_columns)]
        header = self.header[:1]
        for name, has in zip(self.header[1:], spread, strict=True):
            header += [name, f"{name} sd"] if has else [name]
        writer.writerow(header)
        for name, cells in self.rows:
            row = [name]
            for cell, has in zip(cells, spread, strict=True):
                row += [cell.text, cell.spread] if has else [cell.text]
            writer.writerow(row)
        return out.getvalue()

    @property
    def has_stars(self) -> bool:
        """Whether any cell is marked as significant."""
        return any(cell.stars for _, cells in self.rows for cell in cells)

    @property
    def n_columns(self) -> int:
        """Columns of numbers."""
        return len(self.header) - 1

    def latex(self) -> str:
        """A ``table`` for booktabs: best bold, second best underlined, everything escaped."""
        lines = [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            rf"  \caption{{{latex_text(self.caption)}}}",
            r"  \centering",
            rf"  \begin{{tabular}}{{l{'r' * self.n_columns}}}",
            r"    \toprule",
            f"    {' & '.join(map(latex_text, self.header))} \\\\",
            r"    \midrule",
        ]
        for name, cells in self.rows:
            lines.append(f"    {' & '.join([latex_text(name), *map(_latex_cell, cells)])} \\\\")
        lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
        return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """A text that LaTeX prints as it is."""
    plain = " ".join(text.split()).replace("±", "\0")
    return "".join(_LATEX.get(char, char) for char in plain).replace("\0", r"$\pm$")


def _latex_cell(cell: Cell) -> str:
    mark = {1: r"\textbf", 2: r"\underline"}.get(cell.place)
    text = latex_text(cell.text)
    if mark:
        text = f"{mark}{{{text}}}"
    if cell.spread:
        text += rf" {{\scriptsize $\pm$ {cell.spread}}}"
    return text + (f"$^{{{cell.stars}}}$" if cell.stars else "")


def main_tables(source: Source) -> list[Table]:
    """The tables of metrics: of one point the main metrics and the others, else one a metric."""
    facts = source.facts
    note, tables = _note(source), []
    if len(facts.points) == 1:
        main = [name for name in facts.metrics if name.startswith(_MAIN)] or facts.metrics
        others = [name for name in facts.metrics if name not in main]
        for name, metrics in (("metrics", main), ("more-metrics", others)):
            if metrics:
                caption = f"Test metrics on {facts.dataset or facts.points[0]}. {note}"
                cells = [_column(source, facts.points[0], metric) for metric in metrics]
                tables.append(Table(name, caption, ["model", *metrics], _rows(source, cells)))
        return tables
    for metric in facts.metrics:
        axis = f" by {facts.axis.label}" if facts.axis.label else ""
        caption = f"{metric}{axis}, on {facts.dataset or facts.name}. {note}"
        cells = [_column(source, point, metric) for point in facts.points]
        tables.append(Table(slug(metric), caption, ["model", *facts.points], _rows(source, cells)))
    return tables


def measure_tables(source: Source, point: str) -> list[Table]:
    """What was measured besides metrics at one point, means over seeds: diagnostics and costs."""
    several = len(source.facts.points) > 1
    where, end = (f" at {point}", f"-{slug(point)}") if several else ("", "")
    spread = "mean ± standard deviation over seeds" if len(source.facts.seeds) > 1 else "one seed"
    found = []
    for name, shown, note in (("Diagnostics", _DIAGNOSTICS, _FHNS), ("Costs", _COSTS, "")):
        columns = {
            label: cells
            for measure, (label, digits) in shown.items()
            if (cells := _measured(source, point, measure, digits))
        }
        if columns:
            rows = [
                (model, [cells.get(model, Cell("-")) for cells in columns.values()])
                for model in source.facts.models
            ]
            caption = f"{name}{where}, {spread}. {note}".strip()
            found.append(Table(f"{name.lower()}{end}", caption, ["model", *columns], rows))
    return found


def _measured(source: Source, point: str, measure: str, digits: int) -> dict[str, Cell]:
    """Cells of one measure by model."""
    found = source.measure(measure, point)
    if found is None:
        return {}
    return {
        row["model"]: Cell(number(row["mean"], digits), number(row["sd"], digits, ""))
        for row in over_seeds(found, "model").iter_rows(named=True)
    }


def stage_tables(source: Source) -> list[Table]:
    """What the stages before training cost: one table, or none where no run is known."""
    if source.stages is None:
        return []
    rows = [
        (
            row["stage"],
            [
                Cell(number(row["seconds"], 1)),
                Cell(number(row["tokens"], 0)),
                Cell(number(row["peak_memory_mib"], 0)),
            ],
        )
        for row in source.stages.iter_rows(named=True)
    ]
    caption = (
        "The stages before training that a language model needs: wall time, tokens that the "
        "language model read or wrote, peak memory."
    )
    return [Table("stages", caption, ["stage", "seconds", "tokens", "peak memory, MiB"], rows)]


def number(value: float | None, digits: int, missing: str = "-") -> str:
    """A number as text, with separators of thousands; ``missing`` where there is none."""
    if value is None or not math.isfinite(value):
        return missing
    return f"{value:,.{digits}f}"


def stars(p: float | None) -> str:
    """Marks of significance: ``**`` below .01, ``*`` below .05."""
    if p is None or not p < 0.05:
        return ""
    return "**" if p < 0.01 else "*"


def _note(source: Source) -> str:
    """How to read the marks of a table of metrics."""
    spread = " ± standard deviation over seeds" if len(source.facts.seeds) > 1 else ""
    tested = source.summary["p_t_holm"].is_not_null().any()
    tests = (
        f" * p\N{NO-BREAK SPACE}< .05, ** p\N{NO-BREAK SPACE}< .01 against "
        f"{source.facts.reference} (paired t-test over users, Holm)."
        if tested
        else ""
    )
    return f"Mean{spread}; best bold, second best underlined.{tests}"


def _column(source: Source, point: str, metric: str) -> dict[str, Cell]:
    """Cells of one metric at one point by model."""
    rows = source.summary.filter(point=point, metric=metric)
    places = _places({row["model"]: row["mean"] for row in rows.iter_rows(named=True)})
    return {row["model"]: _cell(row, places.get(row["model"], 0)) for row in rows.to_dicts()}


def _places(means: dict[str, float | None]) -> dict[str, int]:
    """1 for the models with the largest mean, 2 for those with the next; equal ones share it."""
    known = {model: mean for model, mean in means.items() if mean is not None}
    ordered = sorted(set(known.values()), reverse=True)[:2]
    return {model: ordered.index(mean) + 1 for model, mean in known.items() if mean in ordered}


def _cell(row: dict[str, Any], place: int) -> Cell:
    return Cell(number(row["mean"], 4), number(row["sd"], 4, ""), stars(row["p_t_holm"]), place)


def _rows(source: Source, columns: list[dict[str, Cell]]) -> list[tuple[str, list[Cell]]]:
    """A row a model; the reference is named as such."""
    facts = source.facts
    return [
        (
            f"{model} (reference)" if model == facts.reference else model,
            [cells.get(model, Cell("-")) for cells in columns],
        )
        for model in facts.models
    ]


def summary_csv(source: Source) -> str:
    """All of the summary, unrounded."""
    return source.summary.write_csv()
