"""Readers of interaction and item files, one module a format."""

from hnlmrec.data.readers import amazon, movielens, recbole, table, yelp
from hnlmrec.data.readers.protocol import Clock, RawData, Reader, ReviewTexts

__all__ = ["READERS", "Clock", "RawData", "Reader", "ReviewTexts"]

READERS: dict[str, Reader] = {
    "table": table.read,
    "recbole": recbole.read,
    "movielens": movielens.read,
    "amazon": amazon.read,
    "yelp": yelp.read,
}
