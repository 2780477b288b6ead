"""A log of trials: every model and seed of a configuration, by validation alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.disk import write_atomically
from hnlmrec.pipeline import Pipeline
from hnlmrec.stage_names import train_name
from hnlmrec.studies.tune import TRIALS_CSV
from hnlmrec.training import TrainReport


def run_trials(pipeline: Pipeline) -> tuple[pl.DataFrame, Path]:
    """Train all models and seeds, and write ``trials.csv``; test interactions are not read.

    Returns
    -------
    tuple[pl.DataFrame, Path]
        The table, best first, and its file.
    """
    config = pipeline.config
    with pipeline.holding():
        pipeline.run([train_name(model, seed) for model in config.models for seed in config.seeds])
        table = table_of_trials(config, pipeline.folder)
        path = pipeline.folder.path / TRIALS_CSV
        write_atomically(path, table.write_csv().encode())
    return table, path


def table_of_trials(config: RunConfig, run: RunFolder) -> pl.DataFrame:
    """A row a model: mean and standard deviation over seeds of its best validation Recall@20."""
    rows = []
    for model in config.models:
        reports = [
            TrainReport.model_validate_json(
                (run.stage(train_name(model, seed)) / "report.json").read_bytes()
            )
            for seed in config.seeds
        ]
        found = np.array([report.valid_recall for report in reports])
        spent = [report.seconds_per_epoch * report.epochs for report in reports]
        rows.append(
            {
                "model": model,
                "seeds": len(found),
                "valid_recall@20": float(found.mean()),
                "sd": float(found.std(ddof=1)) if len(found) > 1 else None,
                "best_epoch": float(np.mean([report.best_epoch for report in reports])),
                "seconds": float(np.mean(spent)),
            }
        )
    return pl.DataFrame(rows).sort("valid_recall@20", descending=True, maintain_order=True)
