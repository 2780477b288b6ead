"""CSV, TSV or Parquet interactions, and item texts in JSON lines or a table."""

from __future__ import annotations

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names, typed_interactions
from hnlmrec.data.readers.files import TABLES, TEXTS, find_parts, require_parts
from hnlmrec.data.readers.protocol import RawData
from hnlmrec.data.readers.rejected import Rejected
from hnlmrec.data.readers.tables import open_parts
from hnlmrec.data.readers.texts import collect_items, no_items, read_records
from hnlmrec.data.stores import DataPath

_NAMES = {
    "user": "user_id",
    "item": "item_id",
    "rating": "rating",
    "timestamp": "timestamp",
    "position": "position",
}


def read(config: DataConfig, folder: DataPath) -> RawData:
    """Read ``interactions.*`` and, when there is one, ``items.*``.

    Each may be a folder of parts, at any depth, or a pattern that parts fit: what is read is what
    one file of them all, in the order of their names, would give.

    Interactions have the columns ``user_id`` and ``item_id``, and may have ``rating`` and
    ``timestamp`` (seconds) or ``position`` (order within a user). Items have ``item_id``,
    ``title``, ``brand``, ``categories`` and ``description``; all but the first may be absent.
    ``data.columns`` gives other names; that of ``item`` holds for both files.
    """
    names = column_names(_NAMES, config)
    rejected = Rejected(strict=config.strict, folder=folder)
    parts = find_parts(folder, config.interactions, TABLES, "interactions")
    require_parts(parts, folder, TABLES, "interactions")
    interactions, clock = typed_interactions(open_parts(parts, rejected), names, config, rejected)

    parts = find_parts(folder, config.items, TEXTS, "items")
    if parts:
        records = read_records(parts, names["item"], rejected)
        items, notes = collect_items(records, names["item"], rejected)
    else:
        items, notes = no_items(), ["there is no file of items, so no item has a text"]
    return RawData(
        interactions=interactions,
        items=items,
        clock=clock,
        rejected=rejected,
        notes=tuple(notes),
    )
