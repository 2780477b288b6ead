"""Raw Amazon reviews and metadata of 2014, 2018 and 2023: JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hnlmrec.config import DataConfig
from hnlmrec.data.readers.columns import column_names
from hnlmrec.data.readers.files import find_file
from hnlmrec.data.readers.json_lines import read_json_lines
from hnlmrec.data.readers.protocol import RawData
from hnlmrec.data.readers.rejected import Place, Rejected
from hnlmrec.data.readers.reviews import number, read_reviews, review_texts
from hnlmrec.data.readers.texts import Record, collect_items
from hnlmrec.data.stores import DataPath

_ENDINGS = (".json", ".json.gz", ".jsonl", ".jsonl.gz")


@dataclass(frozen=True, kw_only=True)
class _Edition:
    """How a release of the files names things.

    Parameters
    ----------
    names
        Field to key of a review.
    texts
        Keys of a review's text.
    per_second
        Units of the time in a second.
    item
        Gives a record of the metadata the keys that every reader uses.
    """

    names: Mapping[str, str]
    texts: tuple[str, ...]
    per_second: int
    item: Callable[[Record], Record]


def read(config: DataConfig, folder: DataPath) -> RawData:
    """Read reviews and the metadata of the reviewed items, each plain or gzip.

    Files are found as ``Electronics.jsonl.gz`` (2023), ``Toys_and_Games_5.json.gz`` (2018) or
    ``reviews_Toys_and_Games_5.json.gz`` (2014), and ``meta_Toys_and_Games.json.gz``. The first
    review tells the edition: only those of 2023 have a ``parent_asin``, which is the item there.
    """
    patterns = tuple(start + ending for start in ("reviews_*", "[A-Z]*") for ending in _ENDINGS)
    path = find_file(folder, config.interactions, patterns, "interactions")
    edition = _edition_of(path)
    names = column_names(edition.names, config)

    def seconds(record: Mapping[str, Any], key: str, place: Place) -> int | None:
        time = number(record, key, place)
        return None if time is None else int(time // edition.per_second)

    rejected = Rejected(strict=config.strict)
    interactions, clock, lines = read_reviews(path, names, seconds, rejected)
    patterns = tuple(f"meta_*{ending}" for ending in _ENDINGS)
    items_path = find_file(folder, config.items, patterns, "items")
    items, notes = collect_items(
        read_json_lines(items_path, rejected, loose=True),
        names["item"],
        rejected,
        wanted=set(interactions["item_id"].unique()),
        named=edition.item,
    )
    return RawData(
        interactions=interactions,
        items=items,
        clock=clock,
        rejected=rejected,
        reviews=review_texts(path, edition.texts, lines),
        notes=tuple(notes),
    )


def _edition_of(path: DataPath) -> _Edition:
    first = next((record for _, record in read_json_lines(path, Rejected())), {})
    return _2023 if "parent_asin" in first else _2018


def _item_of_2018(record: Record) -> Record:
    # 2018 renamed categories to category
    return {"categories": record.get("category"), **record}


def _item_of_2023(record: Record) -> Record:
    details = record.get("details")
    named = details.get("Brand") if isinstance(details, dict) else None
    return {
        **record,
        "brand": record.get("store") or named,
        "categories": record.get("categories") or record.get("main_category"),
        # often one of them is empty
        "description": [record.get("description"), record.get("features")],
    }


_2018 = _Edition(
    names={
        "user": "reviewerID",
        "item": "asin",
        "rating": "overall",
        "timestamp": "unixReviewTime",
    },
    texts=("summary", "reviewText"),
    per_second=1,
    item=_item_of_2018,
)
_2023 = _Edition(
    names={
        "user": "user_id",
        "item": "parent_asin",
        "rating": "rating",
        "timestamp": "timestamp",
    },
    texts=("title", "text"),
    per_second=1000,
    item=_item_of_2023,
)
