"""Reading a block of a table that has bad rows: which ones, why, and what the others hold."""

from __future__ import annotations

import re
from itertools import pairwise

import polars as pl

from hnlmrec.data.readers.blocks import UNMATCHED, Block, Dialect
from hnlmrec.data.readers.rejected import RAW_CHARACTERS, Place, Rejected, RowError
from hnlmrec.data.stores import DataPath

_MEND = "correct or remove this line"


def row_by_row(
    block: Block, path: DataPath, names: list[str], dialect: Dialect, rejected: Rejected
) -> tuple[pl.DataFrame, list[int]]:
    """Read the rows of a block one by one, as polars reads them when all of them are right.

    A quote that was opened by mistake takes no line along but its own, and one amid a field that
    does not begin with one is a character like any other.

    Returns
    -------
    frame
        Columns of strings; null where a field is empty or the row too short.
    numbers
        The line of the file that each row begins in.
    """
    lines = block.data.removesuffix(b"\n").split(b"\n")
    closing = _closing_lines(lines, dialect)
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    at = 0
    while at < len(lines):
        if lines[at] in (b"", b"\r"):
            at += 1
            continue
        upto = closing.get(at, at) + 1
        parsed = _parse(b"\n".join(lines[at:upto]), len(names), dialect)
        if isinstance(parsed, str):
            upto = at + 1
            parsed = _parse(lines[at], len(names), dialect)
        if isinstance(parsed, str):
            bad = RowError(parsed, Place(path, block.number + at), mend=_MEND)
            rejected.saw(path)
            rejected.add(bad, lines[at][: 4 * RAW_CHARACTERS].decode("utf-8", "replace"))
        else:
            rows += parsed
            numbers += [block.number + at] * len(parsed)
        at = upto
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row"), numbers


def _closing_lines(lines: list[bytes], dialect: Dialect) -> dict[int, int]:
    """Of each line that leaves a quote open, the next one that may close it."""
    if dialect.quote is None:
        return {}
    quote = dialect.quote.encode()
    odd = [at for at, line in enumerate(lines) if line.count(quote) % 2]
    return dict(pairwise(odd))


def _parse(row: bytes, n_columns: int, dialect: Dialect) -> list[list[str | None]] | str:
    """The fields of a row, or of several that a lone return divides; a reason where it is bad."""
    try:
        text = row.decode()
    except UnicodeDecodeError:
        return "not UTF-8 text"
    fields = _fields(text.removesuffix("\r"), dialect)
    if fields is None:
        return UNMATCHED
    if len(fields) <= n_columns:
        return [fields + [None] * (n_columns - len(fields))]
    rows = [_fields(part, dialect) for part in text.split("\r") if part]
    whole = [fields for fields in rows if fields and len(fields) == n_columns]
    return whole if len(whole) == len(rows) else f"more fields than the {n_columns} of the header"


def _fields(text: str, dialect: Dialect) -> list[str | None] | None:
    """The fields of one row; None when its quotes do not match."""
    separator, quote = dialect
    if quote is None or quote not in text:
        return [field or None for field in text.split(separator)]
    pattern = _PATTERNS[separator]
    fields, end = [], 0
    while field := pattern.match(text, end):
        quoted, plain, behind = field.groups()
        fields.append((plain if quoted is None else quoted.replace('""', '"')) or None)
        if not behind:
            return fields
        end = field.end()
    return None


# a field in quotes or without, and what stands behind it; the possessive ++ keeps it linear
_PATTERNS = {
    separator: re.compile(rf'(?:"((?:[^"]++|"")*+)"|((?!")[^{separator}\n]*+))({separator}|\Z)')
    for separator in (",", "\t")
}
