"""What language models have written, kept so that nothing is asked or paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from hnlmrec.errors import ArtifactError
from hnlmrec.language.protocol import Answer, Prompt

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, answer_tokens INTEGER NOT NULL, whole INTEGER NOT NULL,
    seconds REAL NOT NULL, used REAL NOT NULL, hits INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID
"""
_SUMMARY = """
SELECT model, count(*) AS answers, sum(prompt_tokens) AS prompt_tokens,
       sum(answer_tokens) AS answer_tokens, sum(hits) AS hits, sum(seconds) AS seconds,
       max(used) AS used
FROM answers GROUP BY model ORDER BY model
"""
_ALL = """
SELECT key, model, text, prompt_tokens, answer_tokens, whole, seconds FROM answers ORDER BY key
"""
_DAMAGED = "it is damaged: delete that file, or name another by language.answers"
_FULL = "free some space and run the same command again: what was answered is kept"
_MENDS = {
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_FULL: _FULL,
    # what SQLite says of a full disk when it writes its log
    sqlite3.SQLITE_IOERR: _FULL,
}
_KIND_OF_ERROR = 0xFF
_WAIT_SECONDS = 60.0
# what values raise that only a damaged file can hold
_ODD_VALUES = (TypeError, ValueError, OverflowError)
_KEYS_A_QUERY = 500
# key, model, answer, and how long it took
Kept = tuple[str, str, Answer, float]


def default_path() -> Path:
    """``$HNLMREC_ANSWERS``, or ``answers.sqlite`` in ``$HNLMREC_CACHE`` or ``~/.cache/hnlmrec``."""
    folder = os.environ.get("HNLMREC_CACHE") or "~/.cache/hnlmrec"
    return Path(os.environ.get("HNLMREC_ANSWERS") or f"{folder}/answers.sqlite").expanduser()


def answer_key(prompt: Prompt, schema: dict[str, Any], model: str, max_new_tokens: int) -> str:
    """SHA-256 of all that an answer depends on; ``model`` tells the model from any other."""
    question = json.dumps([list(prompt), schema, model, max_new_tokens], sort_keys=True)
    return hashlib.sha256(question.encode()).hexdigest()


class AnswerCache:
    """A SQLite file of answers by key.

    An answer is on disk when `add` returns, even if the power fails; a program killed at any
    moment leaves the file whole.
    Programs and threads may share it: SQLite's write-ahead log lets one write while others read,
    and they wait for each other. (On a network disk such a log does not work.)

    Parameters
    ----------
    path
        The file; it is made when absent.
    alone
        This process alone has it: then it may lie on a network disk.

    Raises
    ------
    ArtifactError
        When the file cannot be made or is none of SQLite.
    """

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(
                path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            if alone:
                # the log then needs no memory that processes share
                self._file.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode=WAL")
            # each answer is paid for: NORMAL would lose the last of them with the power
            self._file.execute("PRAGMA synchronous=FULL")
            self._file.execute(_TABLE)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def find(self, keys: Sequence[str]) -> dict[str, Answer]:
        """The answers that are there, by key."""
        found: dict[str, Answer] = {}
        for some, marks in _parts(keys):
            with self._explained(), self._lock:
                rows = self._file.execute(
                    "SELECT key, text, prompt_tokens, answer_tokens, whole FROM answers "
                    f"WHERE key IN ({marks})",
                    some,
                ).fetchall()
            found |= {
                key: Answer(text, asked, answered, bool(whole))
                for key, text, asked, answered, whole in rows
                # of a damaged file a row may hold anything: then it is asked again
                if isinstance(text, str) and isinstance(asked, int) and isinstance(answered, int)
            }
        return found

    def count_use(self, keys: Sequence[str]) -> None:
        """Note that these answers were used now."""
        for some, marks in _parts(keys):
            with self._explained(), self._lock:
                self._file.execute(
                    f"UPDATE answers SET hits = hits + 1, used = ? WHERE key IN ({marks})",
                    (time.time(), *some),
                )

    def add(self, key: str, model: str, answer: Answer, seconds: float) -> None:
        """Keep an answer that took ``seconds``; of two of one key the last counts."""
        with self._explained(), self._lock:
            self._file.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (
                    key, model, answer.text, answer.prompt_tokens, answer.answer_tokens,
                    answer.whole, seconds, time.time(),
                ),
            )  # fmt: skip

    def add_missing(self, rows: Sequence[Kept]) -> int:
        """Keep answers whose keys have none yet, all at once; how many."""
        now = time.time()
        values = [
            (key, model, answer.text, answer.prompt_tokens, answer.answer_tokens, answer.whole,
             seconds, now)
            for key, model, answer, seconds in rows
        ]  # fmt: skip
        with self._explained(), self._lock, self._file:
            self._file.execute("BEGIN")
            return self._file.executemany(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)", values
            ).rowcount

    def all(self) -> Iterator[list[Kept]]:
        """All answers, some at a time; nothing may be added meanwhile."""
        with self._explained(), self._lock:
            yield from _kept(self._file)

    def summary(self) -> pl.DataFrame:
        """A row a model: ``model``, ``answers``, their tokens, ``hits``, ``seconds``, ``used``."""
        with self._explained(), self._lock:
            cursor = self._file.execute(_SUMMARY)
            names = [column[0] for column in cursor.description]
            return pl.DataFrame(cursor.fetchall(), schema=names, orient="row")

    def lines(self) -> list[str]:
        """What to print: the file and its size, and what there is of each model."""
        size = sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.name}*"))
        rows = self.summary().to_dicts()
        with self._explained():
            return [
                f"{sum(row['answers'] for row in rows):,} answers, {size / 1e6:,.1f} MB: "
                f"{self.path}",
                *(_line(row) for row in rows),
            ]

    def seconds_an_answer(self, model: str) -> float | None:
        """Mean time of the answers of a model, or None when there is none of it."""
        rows = self.summary().filter(pl.col("model") == model).to_dicts()
        with self._explained():
            return rows[0]["seconds"] / rows[0]["answers"] if rows else None

    def prune(self, *, older_than_days: float = 0, model: str | None = None) -> int:
        """Delete answers that were not used for so long, of one model or of all; how many."""
        limit = time.time() - older_than_days * 24 * 3600
        with self._explained(), self._lock:
            deleted = self._file.execute(
                "DELETE FROM answers WHERE used <= ? AND model = coalesce(?, model)",
                (limit, model),
            ).rowcount
            self._file.execute("VACUUM")
            self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return deleted

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, PolarsError, *_ODD_VALUES) as error:
            mend = _MENDS.get(
                getattr(error, "sqlite_errorcode", 0) & _KIND_OF_ERROR,
                "name another file by language.answers",
            )
            raise ArtifactError(
                f"the answers of language models cannot be kept here ({error})",
                where=str(self.path),
                mend=mend,
            ) from None


def answers_in(path: Path) -> Iterator[list[Kept]]:
    """All answers of a file that nobody writes to, some at a time.

    Raises
    ------
    ArtifactError
        When it is damaged.
    """
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as file:
            yield from _kept(file)
    except (sqlite3.Error, *_ODD_VALUES) as error:
        raise ArtifactError(
            f"these answers cannot be read ({error})",
            where=str(path),
            mend="delete that folder and run its shard again",
        ) from None


def _kept(file: sqlite3.Connection) -> Iterator[list[Kept]]:
    found = file.execute(_ALL)
    while rows := found.fetchmany(_KEYS_A_QUERY):
        yield [
            (key, model, Answer(text, int(asked), int(answered), bool(whole)), float(took))
            for key, model, text, asked, answered, whole, took in rows
        ]


def _line(row: dict[str, Any]) -> str:
    used = datetime.fromtimestamp(row["used"]).strftime("%Y-%m-%d")
    return (
        f"  {row['model']}: {row['answers']:,} answers, {row['prompt_tokens']:,} tokens of "
        f"prompts and {row['answer_tokens']:,} of answers; used again {row['hits']:,} "
        f"times, last on {used}"
    )


def _parts(keys: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Distinct keys, few enough for one query, and a question mark for each."""
    distinct = list(dict.fromkeys(keys))
    for start in range(0, len(distinct), _KEYS_A_QUERY):
        some = distinct[start : start + _KEYS_A_QUERY]
        yield some, ",".join("?" * len(some))
