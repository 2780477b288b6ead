"""`Failure`: a request that failed for good, and `Breaker`, which stops before many do."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from hnlmrec.config import ServerConfig
from hnlmrec.config.loading import without_password
from hnlmrec.errors import ModelError
from hnlmrec.language.limited import said_by_limit

_LONGEST_MESSAGE = 300
# statuses that are about one question: its content, its length
_REFUSED = (400, 413, 422, 451)
# statuses that no other question would fare better with, besides those of key and path
_FINAL = (402,)
_KEPT = "run the same command again: only what is missing is asked for"


class NoAnswerError(Exception):
    """A response of status 200 that holds no answer."""


@dataclass(frozen=True)
class Failure:
    """Why a request failed, after all repetitions.

    Parameters
    ----------
    reason
        In a few fixed words, to be counted.
    error
        What the user is told when it ends the run.
    refused
        The server is there, and does not want this question.
    final
        No other request would fare better.
    """

    reason: str
    error: ModelError
    refused: bool = False
    final: bool = False


def key_of(config: ServerConfig) -> str:
    """The key, empty when there is none; it is kept nowhere.

    Raises
    ------
    ModelError
        For one that no header can hold, which others would quote.
    """
    key = os.environ.get(config.key_variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise ModelError(
            "the key holds a character that no key has, such as a line break",
            where=f"environment variable {config.key_variable}",
            mend="put the key alone into it",
        )
    return key


def without_key(text: str, config: ServerConfig) -> str:
    """What the server says, which may be the key that it was sent."""
    key = key_of(config)
    return text.replace(key, "***") if key else text


class Breaker:
    """Says when a server is to be asked no more.

    That is after so many failures in a row, or one that no other request would fare better than.
    A refused question is no failure of a server that is known to answer others.

    Parameters
    ----------
    limit
        Failures in a row.
    proven
        Whether the server has ever answered such questions.
    """

    def __init__(self, limit: int, *, proven: bool = False) -> None:
        self._limit, self._proven = limit, proven
        self._alive, self._in_row = False, 0
        self._last: Failure | None = None
        self.error: ModelError | None = None

    def answered(self) -> None:
        """Note an answer."""
        self._proven = self._alive = True
        self._in_row = 0

    def failed(self, failure: Failure) -> None:
        """Note a failure; ``error`` is there when it is one too many."""
        if failure.refused and self._proven:
            self._alive, self._in_row = True, 0
            return
        self._in_row, self._last = self._in_row + 1, failure
        if failure.final or self._in_row >= self._limit:
            self._open(failure)

    def ended(self) -> None:
        """Note that all was asked; a server that gave no sign of life is to be asked no more."""
        if self._last is not None and not self._alive:
            self._open(self._last)

    def _open(self, failure: Failure) -> None:
        if self.error is not None:
            return
        error, what = failure.error, failure.error.what
        if self._in_row > 1:
            what += f"; {self._in_row} requests failed in a row, so no more are sent"
        self.error = ModelError(what, where=error.where, mend=error.mend)


def failure_of(error: BaseException, api: Any, model: str, config: ServerConfig) -> Failure | None:
    """What an error of a request means; None where it is none of the server's.

    No message that could hold the key is shown.

    Parameters
    ----------
    error
        What was raised.
    api
        The package openai.
    model
        The model's name.
    config
        The server.
    """
    url = str(config.base_url or os.environ.get("OPENAI_BASE_URL") or "OpenAI's server")
    where = without_key(without_password(url), config)  # a proxy may want a password

    def failure(reason: str, what: str, mend: str, **kind: bool) -> Failure:
        return Failure(reason, ModelError(what, where=where, mend=mend), **kind)

    status = getattr(error, "status_code", None)
    said = without_key(str(error), config)[:_LONGEST_MESSAGE]
    said = "".join(letter if letter.isprintable() else " " for letter in said)
    if isinstance(error, api.AuthenticationError | api.PermissionDeniedError):
        # its message may quote the key
        return failure(
            f"the server refused the key (status {status})",
            "the server refuses the key",
            f"put a valid one into the environment variable {config.key_variable}; then {_KEPT}",
            final=True,
        )
    if isinstance(error, api.NotFoundError):
        return failure(
            "the server knows no such model or path",
            f"the server knows no model {model!r}, or no such path",
            "see its list of models, and language.server.base_url, which ends in /v1 mostly",
            final=True,
        )
    if isinstance(error, api.RateLimitError):
        return failure(
            "the server refused more requests (status 429)",
            f"the server refuses more requests, after {config.retries} repetitions",
            f"lower language.server.concurrency, or wait; then {_KEPT}",
        )
    if isinstance(error, api.APIConnectionError):  # a time-out is one, too
        late = isinstance(error, api.APITimeoutError)
        if much := said_by_limit(error):
            return failure(
                "the server sent too much", f"the server sends {much}", f"see to it; then {_KEPT}"
            )
        return failure(
            "no answer from the server in time" if late else "no connection to the server",
            f"the server does not answer ({said})",
            f"see language.server.base_url and language.server.timeout; then {_KEPT}",
        )
    if isinstance(error, api.APIStatusError):
        refused = status in _REFUSED
        reason = "refused the question" if refused else "failed"
        mend = "see what the server's log says"
        if refused:
            mend = (
                "for what it does not know there are response_format, limit_key and temperature "
                "in language.server"
            )
        return failure(
            f"the server {reason} (status {status}{_code(error)})",
            f"the server refuses the request ({said})",
            f"{mend}; then {_KEPT}",
            refused=refused,
            final=status in _FINAL,
        )
    if isinstance(error, NoAnswerError | ValueError | RecursionError):
        return failure(
            "no answer of the OpenAI kind",
            "what the server sends is no answer of the OpenAI kind",
            f"see language.server.base_url; then {_KEPT}",
        )
    if isinstance(error, api.OpenAIError):
        kind = type(error).__name__
        return failure(f"the request failed ({kind})", f"the request failed ({kind})", _KEPT)
    return None


def _code(error: Any) -> str:
    """The server's word for what is wrong, when it is one of a machine, as content_filter."""
    code = getattr(error, "code", None)
    return f", {code}" if isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code) else ""
