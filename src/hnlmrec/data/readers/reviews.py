"""Reviews in JSON lines: the interactions in one pass, the texts of those that are kept in another.

A file of reviews is mostly text, of which the filters leave little: of gigabytes that are read, a
chunk of records at a time is held, and later the texts that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import polars as pl

from hnlmrec.data.readers.json_lines import pick_json_lines, read_json_lines
from hnlmrec.data.readers.protocol import INTERACTION_SCHEMA, Clock, ReviewTexts
from hnlmrec.data.readers.rejected import Place, Rejected, RowError
from hnlmrec.data.readers.texts import encodable, plain_text, record_id
from hnlmrec.data.stores import DataPath

# of a record, a key and a place (for errors): seconds since 1970 (UTC), or None where it is absent
Seconds = Callable[[Mapping[str, Any], str, Place], int | None]

_CHUNK = 50_000
_SHOWN = 60  # characters of a value in an error


def read_reviews(
    path: DataPath, names: Mapping[str, str], seconds: Seconds, rejected: Rejected
) -> tuple[pl.DataFrame, Clock, pl.Series]:
    """Make interactions of the reviews in a plain or gzip file.

    Parameters
    ----------
    path
        JSON lines.
    names
        Field (user, item, rating, timestamp) to key; the last two may be absent.
    seconds
        Reads the time.
    rejected
        Receives the lines that are no JSON object, lack an id, or whose number or date is not one.

    Returns
    -------
    interactions, clock
        As in `RawData`.
    lines
        Number of the line of each interaction, for `review_texts`.
    """
    schema = pl.Schema({**INTERACTION_SCHEMA, "line": pl.UInt32()})

    def rows() -> Iterator[tuple[str, str, float | None, int | None, int]]:
        for place, record in read_json_lines(path, rejected):
            try:
                yield (
                    record_id(record, names["user"], place),
                    record_id(record, names["item"], place),
                    number(record, names["rating"], place),
                    seconds(record, names["timestamp"], place),
                    place.number,
                )
            except RowError as bad:
                rejected.add(bad, record)

    reading = rows()
    chunks = [schema.to_frame()]
    while chunk := list(islice(reading, _CHUNK)):
        columns = dict(zip(schema, zip(*chunk, strict=True), strict=True))
        chunks.append(pl.DataFrame(columns, schema=schema))
    frame = pl.concat(chunks)
    clock: Clock = "seconds" if frame["timestamp"].count() else "none"
    return frame.drop("line"), clock, frame["line"]


def review_texts(path: DataPath, keys: tuple[str, ...], lines: pl.Series) -> ReviewTexts:
    """Read, when asked, what stands under some keys of the file that `read_reviews` read."""

    def texts(rows: pl.Series) -> pl.Series:
        joined = [
            encodable(" ".join(str(record.get(key) or "") for key in keys))
            for record in pick_json_lines(path, lines.gather(rows))
        ]
        frame = pl.DataFrame({"review": joined}, schema={"review": pl.String})
        return frame.select(plain_text("review")).to_series()

    return texts


def number(record: Mapping[str, Any], key: str, place: Place) -> float | None:
    """Take a number from a record; None when it is absent, a RowError when it is not one."""
    value = record.get(key)
    if value is None:
        return None
    # beyond 2**53 a float no longer tells integers apart; NaN fails the comparison too
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        what = f"{repr(value)[:_SHOWN]} is not a number"
        raise RowError(f"{key} is not a number", place, what=what, column=key)
    return float(value)
