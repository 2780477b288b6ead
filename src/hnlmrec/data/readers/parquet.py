"""Reading Parquet files of any origin, some rows at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from hnlmrec.data.readers.stored_parquet import stored_frames, stored_schema
from hnlmrec.data.readers.streams import FREE_BYTES, MAX_RATIO, explained
from hnlmrec.data.stores import DataPath, StorePath
from hnlmrec.errors import DataError

_ROWS = 1 << 18
_CELL_BYTES = 8  # that the least value takes in memory
# ends with 0 also where polars raises: that is raised again, and explained, where it is read
_TRIAL = """
import json, sys
import polars as pl
paths, step, names = json.load(sys.stdin)
for number, path in enumerate(paths):
    print(number, flush=True)
    try:
        rows = pl.scan_parquet(path, glob=False).select(names or pl.all())
        for start in range(0, rows.select(pl.len()).collect().item(), step):
            rows.slice(start, step).collect()
    except BaseException:
        pass
"""


def parquet_schema(path: DataPath) -> dict[str, pl.DataType]:
    """The names and types of the columns.

    Raises
    ------
    DataError
        When it is no Parquet file, or one that takes far more room in memory than on the disk.
    """
    if isinstance(path, StorePath):
        schema, n_rows = stored_schema(path)
    else:
        with explained(path):
            schema = dict(pl.read_parquet_schema(path))
        n_rows = _count(path)
    if n_rows * len(schema) * _CELL_BYTES > max(FREE_BYTES, MAX_RATIO * path.stat().st_size):
        raise DataError(
            f"its {n_rows:,} rows take more than {MAX_RATIO} times as much as the file",
            where=str(path),
            mend="if it is no mistake, write it without compression",
        )
    return schema


def parquet_frames(path: DataPath, names: list[str] | None) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the rows of some columns, or of all: the number of the first, from 1, and a frame.

    A local file must have been tried: `try_parquet`.
    """
    number = 1
    if isinstance(path, StorePath):
        frames = stored_frames(path, names, _ROWS)
    else:
        frames = _local_frames(path, names)
    for frame in frames:
        yield number, frame
        number += frame.height


def try_parquet(paths: Sequence[DataPath], names: list[str] | None) -> None:
    """Read local files in another process, which a damaged page may end without a word in Python.

    polars believes what a page says of its size, and a process that cannot have as much memory is
    aborted. (What is in a store is not read by polars.)
    """
    local = [str(path) for path in paths if isinstance(path, Path)]
    if not local:
        return
    told = json.dumps([local, _ROWS, names])
    trial = subprocess.run(
        [sys.executable, "-c", _TRIAL], input=told, capture_output=True, check=False, text=True
    )
    if trial.returncode:
        begun = trial.stdout.split()
        raise DataError(
            "the file is damaged: polars cannot read it and survive",
            where=local[int(begun[-1]) if begun else 0],
            mend="download or write it again",
        )


def _local_frames(path: Path, names: list[str] | None) -> Iterator[pl.DataFrame]:
    rows = pl.scan_parquet(path, glob=False).select(names or pl.all())
    for start in range(0, _count(path), _ROWS):
        with explained(path):
            frame = rows.slice(start, _ROWS).collect()
        yield frame


def _count(path: Path) -> int:
    with explained(path):
        n_rows: int = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    return n_rows
