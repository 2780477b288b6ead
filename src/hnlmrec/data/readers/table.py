"""CSV, TSV or Parquet interactions, and item texts in JSON lines or a table."""

from __future__ import annotations

from pathlib import Path

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names, typed_interactions
from hnlmrec.data.readers.files import find_file, find_optional_file
from hnlmrec.data.readers.protocol import RawData
from hnlmrec.data.readers.rejected import Rejected
from hnlmrec.data.readers.tables import open_table
from hnlmrec.data.readers.texts import collect_items, no_items, read_records

_TABLES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
_NAMES = {
    "user": "user_id",
    "item": "item_id",
    "rating": "rating",
    "timestamp": "timestamp",
    "position": "position",
}


def read(config: DataConfig, folder: Path) -> RawData:
    """Read ``interactions.*`` and, when there is one, ``items.*``.

    Interactions have the columns ``user_id`` and ``item_id``, and may have ``rating`` and
    ``timestamp`` (seconds) or ``position`` (order within a user). Items have ``item_id``,
    ``title``, ``brand``, ``categories`` and ``description``; all but the first may be absent.
    ``data.columns`` gives other names; that of ``item`` holds for both files.
    """
    names = column_names(_NAMES, config)
    patterns = tuple(f"interactions{ending}" for ending in _TABLES)
    path = find_file(folder, config.interactions, patterns, "interactions")
    rejected = Rejected(strict=config.strict)
    interactions, clock = typed_interactions(open_table(path, rejected), names, config, rejected)

    patterns = tuple(f"items{ending}" for ending in (".jsonl", ".jsonl.gz", *_TABLES))
    items_path = find_optional_file(folder, config.items, patterns, "items")
    if items_path is None:
        items, notes = no_items(), ["there is no file of items, so no item has a text"]
    else:
        records = read_records(items_path, names["item"], rejected)
        items, notes = collect_items(records, names["item"], rejected)
    return RawData(
        interactions=interactions,
        items=items,
        clock=clock,
        rejected=rejected,
        notes=tuple(notes),
    )
