"""Reviews in JSON lines: the interactions in one pass, the texts of those that are kept in another.

A file of reviews is mostly text, of which the filters leave little: of gigabytes that are read, a
chunk of records at a time is held, and later the texts that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from hnlmrec.data.readers.files import pick_json_lines, read_json_lines
from hnlmrec.data.readers.protocol import INTERACTION_SCHEMA, Clock, ReviewTexts
from hnlmrec.data.readers.texts import plain_text, record_id
from hnlmrec.errors import DataError

# of a record, a key and a place (for errors): seconds since 1970 (UTC), or None where it is absent
Seconds = Callable[[Mapping[str, Any], str, str], int | None]

_CHUNK = 50_000


def read_reviews(
    path: Path, names: Mapping[str, str], seconds: Seconds
) -> tuple[pl.DataFrame, Clock]:
    """Make interactions of the reviews in a plain or gzip file.

    Parameters
    ----------
    path
        JSON lines.
    names
        Field (user, item, rating, timestamp) to key; the last two may be absent.
    seconds
        Reads the time.

    Raises
    ------
    DataError
        When a line is no JSON object, lacks an id, or a number or date is not one.
    """

    def rows() -> Iterator[tuple[str, str, float | None, int | None]]:
        for place, record in read_json_lines(path):
            yield (
                record_id(record, names["user"], place),
                record_id(record, names["item"], place),
                number(record, names["rating"], place),
                seconds(record, names["timestamp"], place),
            )

    reading = rows()
    chunks = [INTERACTION_SCHEMA.to_frame()]
    while chunk := list(islice(reading, _CHUNK)):
        columns = dict(zip(INTERACTION_SCHEMA, zip(*chunk, strict=True), strict=True))
        chunks.append(pl.DataFrame(columns, schema=INTERACTION_SCHEMA))
    frame = pl.concat(chunks)
    return frame, "seconds" if frame["timestamp"].count() else "none"


def review_texts(path: Path, keys: tuple[str, ...]) -> ReviewTexts:
    """Read, when asked, what stands under some keys of the file that `read_reviews` read."""

    def texts(rows: pl.Series) -> pl.Series:
        joined = [
            " ".join(str(record.get(key) or "") for key in keys)
            for record in pick_json_lines(path, rows)
        ]
        frame = pl.DataFrame({"review": joined}, schema={"review": pl.String})
        return frame.select(plain_text("review")).to_series()

    return texts


def number(record: Mapping[str, Any], key: str, place: str) -> float | None:
    """Take a number from a record; None when it is absent, a DataError when it is not one."""
    value = record.get(key)
    if value is None:
        return None
    # beyond 2**53 a float no longer tells integers apart; NaN fails the comparison too
    if not isinstance(value, int | float) or not abs(value) < 2**53:
        raise DataError(f"{value!r} is not a number", where=f"{place}, column {key}")
    return float(value)
