"""From raw records of items to plain text."""

from __future__ import annotations

import html
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import polars as pl

from hnlmrec.data.interactions import TEXT_FIELDS
from hnlmrec.data.readers.files import MAP_COLUMN, shown_columns
from hnlmrec.data.readers.json_lines import read_json_lines
from hnlmrec.data.readers.rejected import Place, Rejected, RowError
from hnlmrec.data.readers.tables import Table, open_parts
from hnlmrec.data.stores import DataPath

Record = Mapping[str, Any]
Records = Iterable[tuple[Place, Record]]

_MARKUP = r"(?is)<(?:script|style)\b.*?</(?:script|style)>|</?[a-z!][^>]*>"


def no_items() -> pl.DataFrame:
    """Stand in for the item texts of a dataset without an items file."""
    return pl.DataFrame(schema=dict.fromkeys(("item_id", *TEXT_FIELDS), pl.String))


def collect_items(
    records: Records,
    id_name: str,
    rejected: Rejected,
    *,
    wanted: Container[str] | None = None,
    named: Callable[[Record], Record] = lambda record: record,
) -> tuple[pl.DataFrame, list[str]]:
    """Gather item texts; of several records of an item the first counts, which is noted.

    Parameters
    ----------
    records
        Place (for errors) and mapping of each item.
    id_name
        The key that holds the item's id.
    rejected
        Receives the records without an id.
    wanted
        The ids to keep; None keeps all.
    named
        Gives a record the keys `TEXT_FIELDS`, whose values are strings or lists, nested or not,
        of strings.

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
        try:
            item = record_id(record, id_name, place)
            if wanted is not None and item not in wanted:
                continue
            if item in seen:
                repeated += 1
                continue
            texts = _texts(named(record))
        except RowError as bad:
            rejected.add(bad, record)
            continue
        except RecursionError:
            rejected.add(RowError("nested too deeply", place), "")
            continue
        seen.add(item)
        columns["item_id"].append(item)
        for field, text in zip(TEXT_FIELDS, texts, strict=True):
            columns[field].append(text)
    items = pl.DataFrame(columns, schema=no_items().schema)
    notes = [f"records that repeat an item and were left out: {repeated:,}"] if repeated else []
    return items.with_columns(plain_text(field) for field in TEXT_FIELDS), notes


def record_id(record: Record, key: str, place: Place) -> str:
    """Take an id from a record; a RowError when there is none."""
    value = record.get(key)
    if value is not None and value != "":
        return encodable(str(value))
    if key in record:
        what, mend = f"the {key} is empty", "fill it in or remove the line"
    else:
        what, mend = f"there is no column {key!r}; found: {shown_columns(list(record))}", MAP_COLUMN
    raise RowError(f"{key} is empty", place, what=what, mend=mend)


def encodable(text: str) -> str:
    """Replace halves of surrogate pairs, which JSON can write and no file can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def plain_text(column: str) -> pl.Expr:
    """Rid the column of HTML entities, tags, control characters and runs of spaces."""
    unescaped = pl.col(column).map_elements(html.unescape, return_dtype=pl.String)
    return (
        unescaped.str.replace_all(_MARKUP, " ")
        .str.replace_all(r"[\s\p{Cc}]+", " ")
        .str.strip_chars()
    )


def read_records(paths: Sequence[DataPath], id_name: str, rejected: Rejected) -> Records:
    """Yield the records of JSON-lines, CSV, TSV or Parquet files, with their places."""
    if ".jsonl" in paths[0].suffixes or ".json" in paths[0].suffixes:
        return chain.from_iterable(read_json_lines(path, rejected) for path in paths)
    return table_records(open_parts(paths, rejected), id_name)


def table_records(
    table: Table,
    id_name: str,
    named: Callable[[pl.DataFrame], pl.DataFrame] = lambda frame: frame,
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the rows of a table with their places, without blank lines.

    ``named`` gives its columns the names that `collect_items` reads.
    """
    table.require(id_name)
    for piece in table.pieces(None):
        for row, record in enumerate(named(piece.frame).iter_rows(named=True)):
            if any(value is not None for value in record.values()):
                yield piece.place(row), record


def _texts(record: Record) -> list[str]:
    """The text of each of `TEXT_FIELDS`."""
    texts = []
    for field in TEXT_FIELDS:
        separator = ", " if field == "categories" else " "
        texts.append(encodable(separator.join(dict.fromkeys(_strings(record.get(field))))))
    return texts


def _strings(value: object) -> Iterator[str]:
    """Yield the strings in a value that may be a list of lists."""
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, list):
            rest += reversed(value)
        elif value is not None and value != "":
            yield str(value)
