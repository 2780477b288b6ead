"""The Yelp Open Dataset: reviews and businesses, JSON lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names
from hnlmrec.data.readers.files import find_file, read_json_lines
from hnlmrec.data.readers.protocol import RawData
from hnlmrec.data.readers.reviews import read_reviews, review_texts
from hnlmrec.data.readers.texts import collect_items
from hnlmrec.errors import DataError

_NAMES = {"user": "user_id", "item": "business_id", "rating": "stars", "timestamp": "date"}
_STARTS = ("yelp_academic_dataset_", "")
_ENDINGS = (".json", ".json.gz")
# where a word begins in a name such as OutdoorSeating
_NEXT_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def read(config: DataConfig, folder: Path) -> RawData:
    """Read ``yelp_academic_dataset_review.json`` and the reviewed of ``..._business.json``.

    Each is plain or gzip, and may be called ``review.json`` and ``business.json``. Dates are taken
    as UTC. A business is described by its city, its state and its attributes in words.
    """
    names = column_names(_NAMES, config)
    path = find_file(folder, config.interactions, _files("review"), "interactions")
    interactions, clock = read_reviews(path, names, _seconds)
    businesses = _businesses(find_file(folder, config.items, _files("business"), "items"))
    items, notes = collect_items(businesses, names["item"], set(interactions["item_id"]))
    return RawData(
        interactions=interactions,
        items=items,
        clock=clock,
        reviews=review_texts(path, ("text",)),
        notes=tuple(notes),
    )


def _files(kind: str) -> tuple[str, ...]:
    return tuple(f"{start}{kind}{ending}" for start in _STARTS for ending in _ENDINGS)


def _seconds(record: Mapping[str, Any], key: str, place: str) -> int | None:
    written = record.get(key)
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        raise DataError(
            f"{written!r} is not a date",
            where=f"{place}, column {key}",
            mend="write it as 2016-03-09 17:05:00, or leave it out",
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _businesses(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, record in read_json_lines(path):
        where = ", ".join(str(record[key]) for key in ("city", "state") if record.get(key))
        facts = [where, *_attributes(record.get("attributes"))]
        description = "; ".join(fact for fact in facts if fact)
        yield place, {**record, "title": record.get("name"), "description": description}


def _attributes(attributes: object) -> Iterator[str]:
    """Say what is true of a business: ``Outdoor Seating``, ``Good For Meal: lunch, dinner``."""
    for name, written in attributes.items() if isinstance(attributes, dict) else ():
        value = _value(written)
        if isinstance(value, dict):
            value = ", ".join(str(part) for part, holds in value.items() if holds is True)
        words = _NEXT_WORD.sub(" ", name)
        if value is True:
            yield words
        elif value and value not in ("none", "no"):
            yield f"{words}: {value}"


def _value(written: object) -> object:
    """Read an attribute, which is a Python literal in a string, as in ``u'average'``."""
    if not isinstance(written, str):
        return written
    try:
        value: object = ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return written
    return value
