"""Read a run folder or a study folder as a `Source`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError
from pydantic import ValidationError

from hnlmrec.artifacts import reading
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.paths import stays_inside
from hnlmrec.report.run_facts import is_run, language_stages, read_run, run_notes
from hnlmrec.report.source import OPTIONAL_SCHEMAS, SUMMARY_SCHEMA, Facts, Source, in_schema

STUDY = "study.json"
_MEND = "run the study again"


def load(path: Path) -> Source:
    """Read what a folder holds.

    Raises
    ------
    ConfigError
        When it is the folder neither of a run nor of a study.
    ArtifactError
        When a file that must be there is missing, or one that is there is damaged.
    """
    if (path / STUDY).is_file():
        return read_study(path)
    if is_run(path):
        return read_run(path)
    raise ConfigError(
        "there is neither a run nor a study here",
        where=str(path),
        mend=f"name a folder that holds a config.yaml or a {STUDY}",
    )


def read_study(folder: Path) -> Source:
    """Read a study folder; of its files only ``study.json`` and ``summary.parquet`` must be there.

    Raises
    ------
    ArtifactError
        When one of these is missing, or a file is damaged.
    """
    try:
        facts = Facts.model_validate_json((folder / STUDY).read_bytes())
    except (OSError, ValidationError) as error:
        raise ArtifactError(
            f"the study cannot be read ({error})", where=str(folder / STUDY), mend=_MEND
        ) from None
    summary = _read(folder / "summary.parquet", SUMMARY_SCHEMA)
    frames = {
        name: _read(folder / f"{name}.parquet", schema)
        for name, schema in OPTIONAL_SCHEMAS.items()
        if (folder / f"{name}.parquet").is_file()
    }
    run = _first_run(facts, folder)
    return Source(
        facts,
        summary,
        {name: frame for name, frame in frames.items() if frame.height},
        None if run is None else language_stages(run),
        [] if run is None else run_notes(run, _models_in(facts, run), facts.seeds),
        run,
    )


def _first_run(facts: Facts, folder: Path) -> Path | None:
    """The run folder of the first point that has one, among those that the study stands beside."""
    for point in facts.points:
        run = facts.runs.get(point)
        # a study from elsewhere must not bring one's other runs into the report
        if run is None or not stays_inside(folder.absolute().parent, folder.absolute() / run):
            continue
        if is_run(folder / run):
            return folder / run
    return None


def _models_in(facts: Facts, run: Path) -> list[str]:
    """The names that the study's models have in a run folder, which it shares with others."""
    return [cell.stage_model for cell in facts.cells if cell.run == run.name]


def _read(path: Path, schema: Mapping[str, type[pl.DataType]]) -> pl.DataFrame:
    """Read the columns of a schema, cast to its types."""
    with reading("the study", path, "hnlmrec study"):
        frame = pl.read_parquet(path)
    if missing := [name for name in schema if name not in frame.columns]:
        raise ArtifactError(
            f"the columns {', '.join(missing)} are missing", where=str(path), mend=_MEND
        )
    try:
        return in_schema(frame, schema)
    except PolarsError as error:
        raise ArtifactError(
            f"a column is of another type ({error})", where=str(path), mend=_MEND
        ) from None
