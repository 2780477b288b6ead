"""MovieLens in CSV: ``ratings.csv`` and ``movies.csv``."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names, typed_interactions
from hnlmrec.data.readers.files import find_file, read_table
from hnlmrec.data.readers.protocol import RawData
from hnlmrec.data.readers.texts import collect_items, table_records

_NAMES = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}


def read(config: DataConfig, folder: Path) -> RawData:
    """Read ``ratings.csv`` and ``movies.csv``; genres ``A|B`` become the categories ``A, B``."""
    names = column_names(_NAMES, config)
    path = find_file(folder, config.interactions, ("ratings.csv", "ratings.csv.gz"), "interactions")
    interactions, clock = typed_interactions(read_table(path), names, config, path)

    path = find_file(folder, config.items, ("movies.csv", "movies.csv.gz"), "items")
    movies = read_table(path)
    if "genres" in movies.columns:
        genres = pl.col("genres").replace("(no genres listed)", "")
        movies = movies.with_columns(categories=genres.str.replace_all("|", ", ", literal=True))
    items, notes = collect_items(table_records(movies, path), names["item"])
    return RawData(interactions=interactions, items=items, clock=clock, notes=tuple(notes))
