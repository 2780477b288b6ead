"""Tables that are written while they are made: CSV, JSON lines, Parquet."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from hnlmrec.disk import replace_folder, sync_file, sync_folder, writing
from hnlmrec.errors import ConfigError

_LINES = (".csv", ".jsonl")


def check_output(path: Path) -> None:
    """Refuse what `write_frames` could not write, before anything is computed.

    Raises
    ------
    ConfigError
        When the name says no known form, or a folder there holds other things.
    """
    if path.suffix in _LINES:
        return
    if path.suffix:
        raise ConfigError(
            f"{path.suffix} is no form that can be written",
            where=str(path),
            mend="name a .csv or .jsonl file, or a folder (no suffix) for Parquet parts",
        )
    others = [one.name for one in path.iterdir()] if path.is_dir() else []
    if path.is_file() or any(not name.startswith("part-") for name in others):
        raise ConfigError(
            "there is something else already", where=str(path), mend="name another folder"
        )


def write_frames(frames: Iterable[pl.DataFrame], path: Path) -> int:
    """Write frames as they come; under the name of ``path`` there is never a part of them.

    Parameters
    ----------
    frames
        Of the same columns.
    path
        ``.csv`` or ``.jsonl``: that file. No suffix: a folder of ``part-00000.parquet`` and so
        on, a frame each, which pandas, polars, Spark and DuckDB read as one table.

    Returns
    -------
    int
        Rows written.
    """
    check_output(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with writing("the result", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.suffix in _LINES:
                rows = _write_lines(frames, partial, path.suffix)
                partial.replace(path)
                sync_folder(path.parent)
                return rows
            rows = _write_parts(frames, partial)
            replace_folder(partial, path)
            return rows
        finally:
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)


def _write_lines(frames: Iterable[pl.DataFrame], path: Path, form: str) -> int:
    rows = 0
    with path.open("wb") as stream:
        for n, frame in enumerate(frames):
            if form == ".csv":
                frame.write_csv(stream, include_header=n == 0)
            else:
                frame.write_ndjson(stream)
            rows += frame.height
    sync_file(path)
    return rows


def _write_parts(frames: Iterable[pl.DataFrame], folder: Path) -> int:
    rows = 0
    folder.mkdir()
    for n, frame in enumerate(frames):
        file = folder / f"part-{n:05d}.parquet"
        frame.write_parquet(file)
        sync_file(file)
        rows += frame.height
    return rows
