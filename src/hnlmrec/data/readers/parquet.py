"""Reading Parquet files of any origin, some rows at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from hnlmrec.data.readers.streams import FREE_BYTES, MAX_RATIO, explained
from hnlmrec.errors import DataError

_ROWS = 1 << 18
_CELL_BYTES = 8  # that the least value takes in memory
# ends with 0 also where polars raises: that is raised again, and explained, where it is read
_TRIAL = """
import sys
import polars as pl
path, step, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
try:
    rows = pl.scan_parquet(path, glob=False).select(names or pl.all())
    for start in range(0, rows.select(pl.len()).collect().item(), step):
        rows.slice(start, step).collect()
except BaseException:
    pass
"""


def parquet_columns(path: Path) -> list[str]:
    """The names of the columns.

    Raises
    ------
    DataError
        When it is no Parquet file, or one that takes far more room in memory than on the disk.
    """
    with explained(path):
        names = list(pl.read_parquet_schema(path))
    n_rows = _count(path)
    if n_rows * len(names) * _CELL_BYTES > max(FREE_BYTES, MAX_RATIO * path.stat().st_size):
        raise DataError(
            f"its {n_rows:,} rows take more than {MAX_RATIO} times as much as the file",
            where=str(path),
            mend="if it is no mistake, write it without compression",
        )
    return names


def parquet_frames(path: Path, names: list[str] | None) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the rows of some columns, or of all: the number of the first, from 1, and a frame."""
    n_rows = _count(path)
    _try(path, names or [])
    rows = pl.scan_parquet(path, glob=False).select(names or pl.all())
    for start in range(0, n_rows, _ROWS):
        with explained(path):
            frame = rows.slice(start, _ROWS).collect()
        yield start + 1, frame


def _count(path: Path) -> int:
    with explained(path):
        n_rows: int = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    return n_rows


def _try(path: Path, names: list[str]) -> None:
    """Read the file in another process, which a damaged page may end without a word in Python.

    polars believes what a page says of its size, and a process that cannot have as much memory is
    aborted.
    """
    arguments = [sys.executable, "-c", _TRIAL, str(path), str(_ROWS), *names]
    if subprocess.run(arguments, capture_output=True, check=False).returncode:
        raise DataError(
            "the file is damaged: polars cannot read it and survive",
            where=str(path),
            mend="download or write it again",
        )
