"""Rows that cannot be used: left out, counted by reason, and a sample of them kept."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hnlmrec.data.stores import DataPath, name_below
from hnlmrec.disk import write_atomically
from hnlmrec.errors import DataError

FILE = "rejected.jsonl"
# share of a file's rows beyond which the file is not what the configuration says that it is
MAX_SHARE = 0.1
SAMPLE = 100  # rows a file and reason
RAW_CHARACTERS = 200
_RAW = "raw"


class Place(NamedTuple):
    """Where a row stands; lines and rows are counted from 1, the header of a table is line 1."""

    path: DataPath
    number: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.path}, {self.unit} {self.number}"


class RowError(DataError):
    """A row that cannot be used.

    Parameters
    ----------
    reason
        What it is counted under: of a row's content only the name of a column.
    what, mend
        As in `HnlmrecError`.
    place
        The row.
    column
        The column or key, when it is one that is wrong.
    """

    def __init__(
        self,
        reason: str,
        place: Place,
        *,
        what: str | None = None,
        column: str | None = None,
        mend: str | None = None,
    ) -> None:
        where = str(place) if column is None else f"{place}, column {column}"
        super().__init__(what or reason, where=where, mend=mend)
        self.reason, self.place, self.column = reason, place, column


class Rejected:
    """Gathers the rows of a dataset's files that cannot be used.

    Parameters
    ----------
    strict
        Raise the first of them instead.
    folder
        Files are called by their path from there; None: by their name.
    """

    def __init__(self, *, strict: bool = False, folder: DataPath | None = None) -> None:
        self._strict = strict
        self._folder = folder
        self._seen: Counter[DataPath] = Counter()
        self._counts: dict[DataPath, Counter[str]] = defaultdict(Counter)
        self._first: dict[tuple[DataPath, str], RowError] = {}
        self._sample: list[dict[str, Any]] = []

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Number of rows by file name and reason, the most frequent reason first."""
        return {self._name(path): dict(c.most_common()) for path, c in self._counts.items() if c}

    def saw(self, path: DataPath, n_rows: int = 1) -> None:
        """Count rows of a file, good or bad."""
        self._seen[path] += n_rows

    def add(self, bad: RowError, raw: object) -> None:
        """Leave out one row; ``raw`` is what it holds."""
        self.add_all(bad.place.path, bad.reason, 1, lambda _: (bad, raw))

    def add_all(
        self,
        path: DataPath,
        reason: str,
        n: int,
        describe: Callable[[int], tuple[RowError, object]],
    ) -> None:
        """Leave out ``n`` rows of a file for one reason; only those of the sample are described."""
        if n == 0:
            return
        counts = self._counts[path]
        for number in range(min(n, max(SAMPLE - counts[reason], 0))):
            bad, raw = describe(number)
            if self._strict:
                raise bad
            self._first.setdefault((path, reason), bad)
            row = {
                "file": self._name(path),
                bad.place.unit: bad.place.number,
                "column": bad.column,
                "reason": reason,
                _RAW: str(raw)[:RAW_CHARACTERS].encode("utf-8", "replace").decode(),
            }
            self._sample.append({key: value for key, value in row.items() if value is not None})
        counts[reason] += n

    def check(self, path: DataPath) -> None:
        """Stop when too many of a file's rows were left out.

        Raises
        ------
        DataError
            When they are more than `MAX_SHARE`.
        """
        counts, n_rows = self._counts[path], self._seen[path]
        if counts.total() <= MAX_SHARE * n_rows:
            return
        first = self._first[path, counts.most_common(1)[0][0]]
        reasons = "; ".join(f"{reason}: {count:,}" for reason, count in counts.most_common())
        raise DataError(
            f"{counts.total():,} of {n_rows:,} rows cannot be used, more than {MAX_SHARE:.0%} "
            f"({reasons}); as {first.where}: {first.what}",
            where=str(path),
            mend=first.mend or "correct the file, or change data.reader or data.columns",
        )

    def _name(self, path: DataPath) -> str:
        return path.name if self._folder is None else name_below(self._folder, path)

    def write(self, folder: Path, *, quote: bool = True) -> None:
        """Write the sample as ``rejected.jsonl``, when there is any; ``quote`` what rows hold."""
        if self._sample:
            rows = [{k: row[k] for k in row if quote or k != _RAW} for row in self._sample]
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_atomically(folder / FILE, "".join(lines).encode())
