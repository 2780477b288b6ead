"""Reading JSON lines, one bounded line at a time."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from hnlmrec.data.readers.rejected import RAW_CHARACTERS, Place, Rejected, RowError
from hnlmrec.data.readers.streams import MAX_LINE, open_stream
from hnlmrec.data.stores import DataPath

# characters of a Python literal: its syntax tree takes a hundred times as many bytes
_MAX_LITERAL = 1 << 20
_MEND = "correct or remove this line"


def read_json_lines(
    path: DataPath, rejected: Rejected, *, loose: bool = False
) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield place and object of each line of a plain or gzip file; blank lines are skipped.

    Parameters
    ----------
    path
        The file.
    rejected
        Receives the lines that hold no object. What the caller leaves out of this file belongs
        there too: at its end the share of both is checked.
    loose
        A line may also be a Python literal, as in the 2014 Amazon metadata.
    """
    for place, line, whole in _lines(path):
        rejected.saw(path)
        try:
            record = _object(line, whole, place, loose)
        except RowError as bad:
            rejected.add(bad, line[:RAW_CHARACTERS])
            continue
        yield place, record
    rejected.check(path)


def pick_json_lines(path: DataPath, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Yield the objects of some lines of a file, without parsing the others.

    Parameters
    ----------
    path
        A file that `read_json_lines` read before.
    numbers
        Numbers of lines that hold an object: ascending, none twice.
    """
    lines = _lines(path)
    for number in numbers:
        place, line, whole = next(found for found in lines if found[0].number == number)
        yield _object(line, whole, place, loose=False)


def literal(text: str) -> object:
    """The value of a Python literal; a ValueError when it is none or too long."""
    if len(text) > _MAX_LITERAL:
        raise ValueError("too long")
    try:
        value: object = ast.literal_eval(text)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return value


def _lines(path: DataPath) -> Iterator[tuple[Place, str, bool]]:
    """Place and text of each line that is not blank, and whether that is all of it."""
    with open_stream(path) as stream:
        # reads \n, \r\n and \r as ends of lines; a byte that is no UTF-8 becomes a lone surrogate
        file = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape")
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            whole = len(line) < MAX_LINE or line[-1] == "\n"
            if not whole:
                while (rest := file.readline(MAX_LINE)) and rest[-1] != "\n":
                    pass
            if not line.isspace():
                yield Place(path, number), line, whole


def _object(line: str, whole: bool, place: Place, loose: bool) -> dict[str, Any]:
    if not whole:
        raise RowError(f"longer than {MAX_LINE >> 20} MiB", place, mend=_MEND)
    if not line.isascii():
        try:
            line.encode()
        except UnicodeEncodeError:
            raise RowError("not UTF-8 text", place, mend="save the file as UTF-8") from None
    record = _parse(line, place, loose)
    if not isinstance(record, dict):
        what = f"expected a JSON object, found {line.strip()[:40]!r}"
        raise RowError("not a JSON object", place, what=what, mend=_MEND)
    return record


def _parse(line: str, place: Place, loose: bool) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = str(error)
    if loose:
        try:
            return literal(line)
        except ValueError:
            pass
    raise RowError("not JSON", place, what=f"this is not JSON ({reason})", mend=_MEND)
