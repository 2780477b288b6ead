"""MovieLens in CSV: ``ratings.csv`` and ``movies.csv``."""

from __future__ import annotations

import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names, typed_interactions
from hnlmrec.data.readers.files import find_file
from hnlmrec.data.readers.protocol import RawData
from hnlmrec.data.readers.rejected import Rejected
from hnlmrec.data.readers.tables import open_table
from hnlmrec.data.readers.texts import collect_items, table_records
from hnlmrec.data.stores import DataPath

_NAMES = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}


def read(config: DataConfig, folder: DataPath) -> RawData:
    """Read ``ratings.csv`` and ``movies.csv``; genres ``A|B`` become the categories ``A, B``."""
    names = column_names(_NAMES, config)
    path = find_file(folder, config.interactions, ("ratings.csv", "ratings.csv.gz"), "interactions")
    rejected = Rejected(strict=config.strict)
    interactions, clock = typed_interactions(open_table(path, rejected), names, config, rejected)

    path = find_file(folder, config.items, ("movies.csv", "movies.csv.gz"), "items")
    movies = table_records(open_table(path, rejected), names["item"], _with_categories)
    items, notes = collect_items(movies, names["item"], rejected)
    return RawData(
        interactions=interactions,
        items=items,
        clock=clock,
        rejected=rejected,
        notes=tuple(notes),
    )


def _with_categories(movies: pl.DataFrame) -> pl.DataFrame:
    if "genres" not in movies.columns:
        return movies
    genres = pl.col("genres").replace("(no genres listed)", "")
    return movies.with_columns(categories=genres.str.replace_all("|", ", ", literal=True))
