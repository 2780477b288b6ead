"""Raw Amazon reviews and metadata of 2014 and 2018: JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names
from hnlmrec.data.readers.files import find_file, read_json_lines
from hnlmrec.data.readers.protocol import INTERACTION_SCHEMA, Clock, RawData
from hnlmrec.data.readers.texts import collect_items, plain_text, record_id
from hnlmrec.errors import DataError

_NAMES = {"user": "reviewerID", "item": "asin", "rating": "overall", "timestamp": "unixReviewTime"}
_ENDINGS = (".json", ".json.gz")


def read(config: DataConfig, folder: Path) -> RawData:
    """Read reviews and the metadata of the reviewed items, each plain or gzip.

    Files are found as ``Toys_and_Games_5.json.gz`` (2018) or ``reviews_Toys_and_Games_5.json.gz``
    (2014), and ``meta_Toys_and_Games.json.gz``. A review's text is its summary and its body.
    """
    names = column_names(_NAMES, config)
    patterns = tuple(start + ending for start in ("reviews_*", "[A-Z]*") for ending in _ENDINGS)
    interactions = _read_reviews(
        find_file(folder, config.interactions, patterns, "interactions"), names
    )
    clock: Clock = "seconds" if interactions["timestamp"].count() else "none"

    patterns = tuple(f"meta_*{ending}" for ending in _ENDINGS)
    metadata = _metadata(find_file(folder, config.items, patterns, "items"))
    items, notes = collect_items(metadata, names["item"], set(interactions["item_id"]))
    return RawData(interactions=interactions, items=items, clock=clock, notes=tuple(notes))


def _read_reviews(path: Path, names: dict[str, str]) -> pl.DataFrame:
    columns: dict[str, list[Any]] = {name: [] for name in INTERACTION_SCHEMA}
    for place, record in read_json_lines(path):
        columns["user_id"].append(record_id(record, names["user"], place))
        columns["item_id"].append(record_id(record, names["item"], place))
        columns["rating"].append(_number(record, names["rating"], place))
        columns["timestamp"].append(_number(record, names["timestamp"], place))
        columns["review"].append(f"{record.get('summary') or ''} {record.get('reviewText') or ''}")
    frame = pl.DataFrame(columns, schema_overrides={**INTERACTION_SCHEMA, "timestamp": pl.Float64})
    return frame.cast(INTERACTION_SCHEMA).with_columns(review=plain_text("review"))


def _metadata(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, record in read_json_lines(path, loose=True):
        # 2018 renamed categories to category
        record.setdefault("categories", record.get("category"))
        yield place, record


def _number(record: dict[str, Any], key: str, place: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    # beyond 2**53 a float no longer tells integers apart; NaN fails the comparison too
    if not isinstance(value, int | float) or not abs(value) < 2**53:
        raise DataError(f"{value!r} is not a number", where=f"{place}, column {key}")
    return float(value)
