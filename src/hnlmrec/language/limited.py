"""A client of HTTP with limits that others lack: how much may come, for how long, and a stop."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

_DEADLINE = "hnlmrec.deadline"


def limited_client(openai: Any, timeout: float, largest: int, stop: threading.Event) -> Any:
    """Make a client for `openai.OpenAI` that gives up what would not end.

    Its ``timeout`` is one of silence, which a server that sends a byte now and then never breaks,
    and it would read an answer of any size.

    Parameters
    ----------
    openai
        The package.
    timeout
        Seconds from a request to the end of its answer. (One that is silent meanwhile is given up
        after as long again at most.)
    largest
        Bytes of an answer.
    stop
        Once set, no more requests are sent: they raise an OpenAIError.
    """
    # openai is built on httpx2, and was on httpx: whose names are the same
    base = openai.DefaultHttpxClient.__base__
    library: Any = sys.modules[base.__module__.partition(".")[0]]

    class Limited(library.SyncByteStream):  # type: ignore[misc]
        def __init__(self, stream: Any, deadline: float) -> None:
            self.stream, self.deadline = stream, deadline

        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for part in self.stream:
                size += len(part)
                if size > largest:
                    raise too_much(f"an answer of more than {largest / 2**20:g} MiB")
                if time.monotonic() > self.deadline:
                    raise library.ReadTimeout("the answer takes too long")
                yield part

        def close(self) -> None:
            self.stream.close()

    def too_much(said: str) -> Exception:
        error: Exception = library.ReadError(said)
        error.hnlmrec_said = said  # type: ignore[attr-defined]
        return error

    def before(request: Any) -> None:
        if stop.is_set():
            raise openai.OpenAIError("no more requests are sent")
        request.extensions[_DEADLINE] = time.monotonic() + timeout

    def after(response: Any) -> None:
        # a few packed bytes can be gigabytes: none were asked for
        if response.headers.get("content-encoding", "identity") != "identity":
            raise too_much("a compressed answer, which was not asked for")
        response.stream = Limited(response.stream, response.request.extensions[_DEADLINE])

    return openai.DefaultHttpxClient(
        headers={"Accept-Encoding": "identity"},
        event_hooks={"request": [before], "response": [after]},
    )


def said_by_limit(error: BaseException) -> str | None:
    """What a limit objected to, when it is one that ended a request with this error."""
    return getattr(error.__cause__, "hnlmrec_said", None)
