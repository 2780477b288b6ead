"""Readers of interaction and item files, one module a format."""

from hnlmrec.data.readers import amazon, movielens, recbole, table
from hnlmrec.data.readers.protocol import Clock, RawData, Reader

__all__ = ["READERS", "Clock", "RawData", "Reader"]

READERS: dict[str, Reader] = {
    "table": table.read,
    "recbole": recbole.read,
    "movielens": movielens.read,
    "amazon": amazon.read,
}
