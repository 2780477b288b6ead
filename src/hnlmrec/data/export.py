"""Prepared data as Parquet files of bounded size, with the ids that the source gave."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from hnlmrec.data.interactions import SPLITS, Interactions, ItemTexts
from hnlmrec.data.stores import DataPath, StorePath, store_at
from hnlmrec.disk import write_atomically, writing
from hnlmrec.errors import DataError

ROWS = 1_000_000
# written last, as Spark does; readers leave it out
_WHOLE = "_SUCCESS"


def export(interactions: Interactions, texts: ItemTexts, target: str, n_rows: int = ROWS) -> int:
    """Write interactions and item texts where another program, or `table`, can read them.

    Writes ``interactions/part-00000.parquet`` and so on, with the columns ``user_id``, ``item_id``
    and ``split`` (train, valid, test), ``items/part-00000.parquet`` with ``item_id`` and the texts,
    and ``_SUCCESS`` at the end.

    Parameters
    ----------
    interactions, texts
        As they were prepared.
    target
        A folder or an address such as ``s3://bucket/prefix``, where there is nothing yet.
    n_rows
        Of a file, at most.

    Returns
    -------
    n_parts
        Number of files of interactions.

    Raises
    ------
    DataError
        When there is something already, or a store does not take it.
    """
    folder = _empty(target)
    n_parts = 0
    with writing("the export", Path(target)):
        for n_parts, part in enumerate(_parts(interactions, n_rows), start=1):
            _put(folder, f"interactions/part-{n_parts - 1:05}.parquet", part)
        items = pl.DataFrame({"item_id": interactions.item_ids}).hstack(texts.frame)
        for number, part in enumerate(items.iter_slices(n_rows)):
            _put(folder, f"items/part-{number:05}.parquet", part)
        _write(folder, _WHOLE, b"")
    return n_parts


def _parts(interactions: Interactions, n_rows: int) -> Iterator[pl.DataFrame]:
    for split in SPLITS:
        users, items = interactions.pairs(split)
        for start in range(0, len(users), n_rows):
            rows = slice(start, start + n_rows)
            yield pl.DataFrame(
                {
                    "user_id": interactions.user_ids.gather(users[rows]),
                    "item_id": interactions.item_ids.gather(items[rows]),
                }
            ).with_columns(split=pl.lit(split))


def _empty(target: str) -> DataPath:
    folder: DataPath
    if "://" in target:
        folder = store_at(target)
        taken = bool(folder.files(deep=True))
    else:
        folder = Path(target).expanduser()
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken:
        raise DataError("there is something already", where=target, mend="name an empty folder")
    return folder


def _put(folder: DataPath, name: str, frame: pl.DataFrame) -> None:
    content = io.BytesIO()
    frame.write_parquet(content)
    _write(folder, name, content.getvalue())


def _write(folder: DataPath, name: str, content: bytes) -> None:
    path = folder / name
    if isinstance(path, StorePath):
        path.write(content)
    else:
        write_atomically(path, content)
