"""From raw records of items to plain text."""

from __future__ import annotations

import html
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.data.interactions import TEXT_FIELDS
from hnlmrec.data.readers.files import missing_column, places, read_json_lines, read_table
from hnlmrec.errors import DataError

Records = Iterable[tuple[str, Mapping[str, Any]]]

_MARKUP = r"(?is)<(?:script|style)\b.*?</(?:script|style)>|</?[a-z!][^>]*>"


def no_items() -> pl.DataFrame:
    """Stand in for the item texts of a dataset without an items file."""
    return pl.DataFrame(schema=dict.fromkeys(("item_id", *TEXT_FIELDS), pl.String))


def collect_items(
    records: Records, id_name: str, wanted: Container[str] | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """Gather item texts; of several records of an item the first counts, which is noted.

    Parameters
    ----------
    records
        Place (for errors) and mapping of each item; keys ``id_name`` and `TEXT_FIELDS`, whose
        values are strings or lists, nested or not, of strings.
    id_name
        The key that holds the item's id.
    wanted
        The ids to keep; None keeps all.

    Returns
    -------
    items
        As in `RawData`.
    notes
        Likewise.
    """
    columns: dict[str, list[str]] = {name: [] for name in ("item_id", *TEXT_FIELDS)}
    seen: set[str] = set()
    repeated = 0
    for place, record in records:
        item = record_id(record, id_name, place)
        if wanted is not None and item not in wanted:
            continue
        if item in seen:
            repeated += 1
            continue
        seen.add(item)
        columns["item_id"].append(item)
        for field in TEXT_FIELDS:
            separator = ", " if field == "categories" else " "
            columns[field].append(separator.join(dict.fromkeys(_strings(record.get(field)))))
    items = pl.DataFrame(columns, schema=no_items().schema)
    notes = [f"records that repeat an item and were left out: {repeated:,}"] if repeated else []
    return items.with_columns(plain_text(field) for field in TEXT_FIELDS), notes


def record_id(record: Mapping[str, Any], key: str, place: str) -> str:
    """Take an id from a record; a DataError when it is absent or empty."""
    if key not in record:
        raise missing_column(key, list(record), place)
    if record[key] is None or record[key] == "":
        raise DataError(f"the {key} is empty", where=place, mend="fill it in or remove the line")
    return str(record[key])


def plain_text(column: str) -> pl.Expr:
    """Rid the column of HTML entities, tags, control characters and runs of spaces."""
    unescaped = pl.col(column).map_elements(html.unescape, return_dtype=pl.String)
    return (
        unescaped.str.replace_all(_MARKUP, " ")
        .str.replace_all(r"[\s\p{Cc}]+", " ")
        .str.strip_chars()
    )


def read_records(path: Path) -> Records:
    """Yield the records of a JSON-lines, CSV, TSV or Parquet file, with their places."""
    if ".jsonl" in path.suffixes or ".json" in path.suffixes:
        return read_json_lines(path)
    return table_records(read_table(path), path)


def table_records(frame: pl.DataFrame, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of a table that `read_table` gave, with their places, without blank lines."""
    for place, record in zip(places(path, frame), frame.iter_rows(named=True), strict=True):
        if any(value is not None for value in record.values()):
            yield place, record


def _strings(value: object) -> Iterator[str]:
    """Yield the strings in a value that may be a list of lists."""
    if isinstance(value, list):
        for part in value:
            yield from _strings(part)
    elif value is not None and value != "":
        yield str(value)
