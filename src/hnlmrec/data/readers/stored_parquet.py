"""Reading Parquet from a store: of each row group the bytes of the columns that are wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl

from hnlmrec.data.readers.streams import explained
from hnlmrec.data.stores import StorePath
from hnlmrec.errors import DataError


def stored_schema(path: StorePath) -> tuple[dict[str, pl.DataType], int]:
    """Names and types of the columns, and the number of rows."""
    with _opened(path) as file:
        empty = pl.from_arrow(file.schema_arrow.empty_table())
        assert isinstance(empty, pl.DataFrame)
        return dict(empty.schema), file.metadata.num_rows


def stored_frames(path: StorePath, names: list[str] | None, n_rows: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of some columns, or of all, ``n_rows`` at a time or fewer."""
    with _opened(path) as file:
        batches = file.iter_batches(n_rows, columns=names, use_threads=False)
        while batch := next(batches, None):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame


@contextmanager
def _opened(path: StorePath) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DataError(
            "Parquet is read from a store by pyarrow, which is not installed",
            where=str(path),
            mend='`pip install "hnlmrec[cloud]"`',
        ) from None
    try:
        with explained(path), path.open() as stream, pq.ParquetFile(stream) as file:
            yield file
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"the file cannot be read ({reason})", where=str(path)) from None
