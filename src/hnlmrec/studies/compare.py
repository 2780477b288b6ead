"""The comparison: all models and seeds of a run in one table, tested against a reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import EvaluationConfig, RunConfig
from hnlmrec.disk import write_atomically
from hnlmrec.evaluation.evaluate import Evaluation
from hnlmrec.evaluation.significance import compare as test_against
from hnlmrec.stage_names import evaluate_name, train_name
from hnlmrec.studies.assess import PER_USER, Assessment
from hnlmrec.training import TrainReport

TABLE_CSV, TABLE_MD, TESTS_CSV, COSTS_CSV = "table.csv", "table.md", "tests.csv", "costs.csv"
_TESTED = ("recall", "ndcg")
# parts of an assessment, and what their columns begin with
_KINDS = {"metrics": "", "fhns": "fhns_", "gradient": "gradient_"}


@dataclass(frozen=True)
class Entry:
    """A row of the table: where the runs of a model are.

    Parameters
    ----------
    run
        Folder of the run.
    model
        Its name there.
    seeds
        Its seeds.
    """

    run: RunFolder
    model: str
    seeds: tuple[int, ...]

    @property
    def evaluated(self) -> list[Path]:
        """Folders of its evaluations."""
        return [self.run.stage(evaluate_name(self.model, seed)) for seed in self.seeds]

    @property
    def trained(self) -> list[Path]:
        """Folders of its training runs."""
        return [self.run.stage(train_name(self.model, seed)) for seed in self.seeds]


def compare(config: RunConfig, run: RunFolder, folder: Path) -> list[str]:
    """Compare all models of a run; see `tabulate`."""
    entries = {model: Entry(run, model, config.seeds) for model in config.models}
    return tabulate(entries, config.evaluation, folder)


def tabulate(entries: dict[str, Entry], evaluation: EvaluationConfig, folder: Path) -> list[str]:
    """Write ``table.csv``, ``tests.csv``, ``costs.csv`` and ``table.md``; give the lines to print.

    ``table.csv`` holds a row a model: mean and standard deviation over seeds of each metric.
    ``tests.csv`` holds paired tests over users against the reference, corrected by Holm.
    ``costs.csv`` holds epochs and seconds of training, means over seeds; ``table.md`` is all of
    these for readers.

    Parameters
    ----------
    entries
        The models by the names that they have in the table.
    evaluation
        Cutoffs, and the name of the reference.
    folder
        Receives the files.
    """
    reference, cutoffs = evaluation.reference, evaluation.cutoffs
    table = summarise({name: entry.evaluated for name, entry in entries.items()})
    metrics = [f"{name}@{k}" for name in _TESTED for k in cutoffs]
    evaluations = {
        name: [Evaluation.load(path / PER_USER) for path in entry.evaluated]
        for name, entry in entries.items()
    }
    tests = test_against(evaluations, reference, metrics)
    write_atomically(folder / TABLE_CSV, table.write_csv().encode())
    write_atomically(folder / TESTS_CSV, tests.write_csv().encode())
    costs = training_costs(entries)
    write_atomically(folder / COSTS_CSV, costs.write_csv().encode())
    rows = _rows(table, tests, costs, metrics, reference)
    write_atomically(folder / TABLE_MD, _markdown(rows).encode())
    # the terminal has room for one cutoff
    deepest = [f"{name}@{max(cutoffs)}" for name in _TESTED]
    printed = _text(_rows(table, tests, costs, deepest, reference))
    n_users = evaluations[reference][0].frame.height
    seeds = "/".join(str(n) for n in sorted({len(entry.seeds) for entry in entries.values()}))
    note = (
        f"test part, {n_users:,} users, {seeds} seed(s); mean ± standard deviation "
        f"over seeds; * p < .05, ** p < .01 against {reference} (paired t-test "
        "over users, Holm)"
    )
    return [*printed.splitlines(), note]


def summarise(folders: dict[str, list[Path]]) -> pl.DataFrame:
    """Mean and standard deviation over seeds of all that was assessed, a row a model."""
    rows = []
    for model, paths in folders.items():
        found = [
            Assessment.model_validate_json((path / "assessment.json").read_bytes())
            for path in paths
        ]
        row: dict[str, float | str | int | None] = {"model": model, "seeds": len(found)}
        for kind, prefix in _KINDS.items():
            for name in getattr(found[0], kind):
                values = np.array([getattr(one, kind)[name] for one in found])
                label = prefix + name
                row[label] = float(values.mean())
                row[f"{label}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def training_costs(entries: dict[str, Entry]) -> pl.DataFrame:
    """What training took, a row a model, means over seeds.

    ``epochs`` are those that were run, ``best_epoch`` is that which was kept; ``seconds`` are of
    training alone, without evaluation.
    """
    rows = []
    for name, entry in entries.items():
        reports = [
            TrainReport.model_validate_json((path / "report.json").read_bytes())
            for path in entry.trained
        ]
        rows.append(
            {
                "model": name,
                "best_epoch": float(np.mean([r.best_epoch for r in reports])),
                "epochs": float(np.mean([r.epochs for r in reports])),
                "seconds": float(np.mean([r.seconds_per_epoch * r.epochs for r in reports])),
                "seconds_per_epoch": float(np.mean([r.seconds_per_epoch for r in reports])),
            }
        )
    return pl.DataFrame(rows)


def _rows(
    table: pl.DataFrame,
    tests: pl.DataFrame,
    costs: pl.DataFrame,
    metrics: list[str],
    reference: str,
) -> list[list[str]]:
    """Header and rows of the printed table, as text."""
    shown = [*metrics, "fhns_used", "fhns_synthesised"]
    shown = [name for name in shown if name in table.columns]
    p_values = {(r["model"], r["metric"]): r["p_t_holm"] for r in tests.iter_rows(named=True)}
    spent = {record["model"]: record for record in costs.iter_rows(named=True)}
    rows = [["model", *(_LABELS.get(name, name) for name in shown), "epochs", "seconds"]]
    for record in table.iter_rows(named=True):
        name = record["model"]
        cells = [f"{name} (reference)" if name == reference else name]
        for metric in shown:
            digits = 2 if metric.startswith("fhns") else 4
            cells.append(
                _cell(record[metric], record[f"{metric}_sd"], digits)
                + _stars(p_values.get((name, metric)))
            )
        cells += [f"{spent[name]['epochs']:.0f}", f"{spent[name]['seconds']:.1f}"]
        rows.append(cells)
    return rows


_LABELS = {"fhns_used": "FHNS, used", "fhns_synthesised": "FHNS, synthesised"}


def _cell(mean: float | None, deviation: float | None, digits: int) -> str:
    if mean is None:
        return "-"
    spread = "" if deviation is None else f" ± {deviation:.{digits}f}"
    return f"{mean:.{digits}f}{spread}"


def _stars(p: float | None) -> str:
    if p is None or p >= 0.05:
        return ""
    return " **" if p < 0.01 else " *"


def _markdown(rows: list[list[str]]) -> str:
    header, *body = [[cell.replace("|", r"\|").replace("*", r"\*") for cell in row] for row in rows]
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *body)) + "\n"


def _text(rows: list[list[str]]) -> str:
    """The rows as a table for the terminal."""
    header, *body = rows
    table = Table(show_edge=False)
    table.add_column(header[0], no_wrap=True)
    for name in header[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in body:
        table.add_row(*row)
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
