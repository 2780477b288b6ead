"""RecBole's atomic files: ``*.inter`` and ``*.item``."""

from __future__ import annotations

import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names, typed_interactions
from hnlmrec.data.readers.files import find_file, find_optional_file
from hnlmrec.data.readers.protocol import RawData
from hnlmrec.data.readers.rejected import Rejected
from hnlmrec.data.readers.tables import Table, open_table
from hnlmrec.data.readers.texts import collect_items, no_items, table_records
from hnlmrec.data.stores import DataPath

_NAMES = {"user": "user_id", "item": "item_id", "rating": "rating", "timestamp": "timestamp"}

# the names of a text field in the datasets that RecBole distributes, the best first
_TITLES = ("title", "movie_title", "item_title", "name")
_GENRES = ("genre", "class")


def read(config: DataConfig, folder: DataPath) -> RawData:
    """Read the only ``*.inter`` and, when there is one, the only ``*.item`` of a folder.

    Fields are separated by tabs and nothing is quoted; a header names a field and its type, as in
    ``user_id:token``. ``release_year`` is put into the title, as in ``Toy Story (1995)``.
    """
    names = column_names(_NAMES, config)
    path = find_file(folder, config.interactions, ("*.inter",), "interactions")
    rejected = Rejected(strict=config.strict)
    interactions, clock = typed_interactions(_open_atomic(path, rejected), names, config, rejected)

    items_path = find_optional_file(folder, config.items, ("*.item",), "items")
    if items_path is None:
        items, notes = no_items(), ["there is no .item file, so no item has a text"]
    else:
        table = _open_atomic(items_path, rejected)
        records = table_records(table, names["item"], _with_text_fields)
        items, notes = collect_items(records, names["item"], rejected)
    return RawData(
        interactions=interactions,
        items=items,
        clock=clock,
        rejected=rejected,
        notes=tuple(notes),
    )


def _open_atomic(path: DataPath, rejected: Rejected) -> Table:
    def without_type(name: str) -> str:
        return name.partition(":")[0]

    return open_table(path, rejected, separator="\t", quote=None, rename=without_type)


def _with_text_fields(frame: pl.DataFrame) -> pl.DataFrame:
    """Name title and categories as every reader does."""
    title = next((name for name in _TITLES if name in frame.columns), None)
    if title is not None:
        frame = frame.with_columns(title=pl.col(title))
        if "release_year" in frame.columns:
            year = pl.format(" ({})", "release_year")
            known = pl.col("release_year").str.contains(r"^\d{4}$")
            written = pl.col("title").str.ends_with(year)
            dated = pl.when(known & ~written).then(pl.concat_str("title", year)).otherwise("title")
            frame = frame.with_columns(title=dated)
    genre = next((name for name in _GENRES if name in frame.columns), None)
    if genre is not None and "categories" not in frame.columns:
        # a token_seq is separated by spaces
        frame = frame.with_columns(categories=pl.col(genre).str.replace_all(" ", ", "))
    return frame
