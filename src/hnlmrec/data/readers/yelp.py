"""The Yelp Open Dataset: reviews and businesses, JSON lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names
from hnlmrec.data.readers.files import find_file
from hnlmrec.data.readers.json_lines import literal, read_json_lines
from hnlmrec.data.readers.protocol import RawData
from hnlmrec.data.readers.rejected import Place, Rejected, RowError
from hnlmrec.data.readers.reviews import read_reviews, review_texts
from hnlmrec.data.readers.texts import Record, collect_items
from hnlmrec.data.stores import DataPath

_NAMES = {"user": "user_id", "item": "business_id", "rating": "stars", "timestamp": "date"}
_STARTS = ("yelp_academic_dataset_", "")
_ENDINGS = (".json", ".json.gz")
# where a word begins in a name such as OutdoorSeating
_NEXT_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SHOWN = 60  # characters of a value in an error


def read(config: DataConfig, folder: DataPath) -> RawData:
    """Read ``yelp_academic_dataset_review.json`` and the reviewed of ``..._business.json``.

    Each is plain or gzip, and may be called ``review.json`` and ``business.json``. Dates are taken
    as UTC. A business is described by its city, its state and its attributes in words.
    """
    names = column_names(_NAMES, config)
    path = find_file(folder, config.interactions, _files("review"), "interactions")
    rejected = Rejected(strict=config.strict)
    interactions, clock, lines = read_reviews(path, names, _seconds, rejected)
    items, notes = collect_items(
        read_json_lines(find_file(folder, config.items, _files("business"), "items"), rejected),
        names["item"],
        rejected,
        wanted=set(interactions["item_id"].unique()),
        named=_described,
    )
    return RawData(
        interactions=interactions,
        items=items,
        clock=clock,
        rejected=rejected,
        reviews=review_texts(path, ("text",), lines),
        notes=tuple(notes),
    )


def _files(kind: str) -> tuple[str, ...]:
    return tuple(f"{start}{kind}{ending}" for start in _STARTS for ending in _ENDINGS)


def _seconds(record: Mapping[str, Any], key: str, place: Place) -> int | None:
    written = record.get(key)
    if written is None:
        return None
    try:
        moment = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        raise RowError(
            f"{key} is not a date",
            place,
            what=f"{repr(written)[:_SHOWN]} is not a date",
            column=key,
            mend="write it as 2016-03-09 17:05:00, or leave it out",
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _described(business: Record) -> Record:
    where = ", ".join(str(business[key]) for key in ("city", "state") if business.get(key))
    facts = [where, *_attributes(business.get("attributes"))]
    description = "; ".join(fact for fact in facts if fact)
    return {**business, "title": business.get("name"), "description": description}


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
        return literal(written)
    except ValueError:
        return written
