"""`Requests`: sends many to a server, a few at a time, patiently, and stops when it is in vain."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import Any, TypeVar

from hnlmrec.config import ServerConfig
from hnlmrec.errors import ModelError
from hnlmrec.language.extras import require
from hnlmrec.language.failure import (
    Breaker,
    Failure,
    NoAnswerError,
    failure_of,
    key_of,
    without_key,
)
from hnlmrec.language.limited import limited_client

# before the first repetition of what is no answer; it doubles
_PAUSE, _LONGEST_PAUSE = 0.5, 8.0
_T = TypeVar("_T")


class Requests:
    """Sends requests to an OpenAI-compatible server.

    The client repeats what failed (no connection, a time-out, statuses 408, 409, 429 and from 500)
    after pauses that double, with jitter, or that the server's ``Retry-After`` names; responses
    that are no answer are asked for again here. All repetitions of a request together are
    ``config.retries`` at most.

    Parameters
    ----------
    model
        The model's name on the server.
    config
        The server.
    """

    def __init__(self, model: str, config: ServerConfig) -> None:
        self.model, self.config = model, config
        self._openai = require("openai", extra="served")

    def as_done(
        self,
        send: Callable[[Any, int], Any],
        read: Callable[[Any, int], _T],
        n: int,
        largest: int,
        breaker: Breaker,
    ) -> Iterator[tuple[int, _T | Failure]]:
        """Yield what comes of each place as it is done, with few requests under way at a time.

        Parameters
        ----------
        send
            Sends the request of a place by a client, and gives the raw response.
        read
            Makes the response to a place what it means.
        n
            Places.
        largest
            Bytes of a response.
        breaker
            Says when no more are to be sent.
        """
        places, stop = iter(range(n)), threading.Event()
        waiting: dict[Future[_T], int] = {}
        with (
            self._connection(largest, stop) as client,
            ThreadPoolExecutor(self.config.concurrency) as pool,
        ):

            def submit(most: int) -> None:
                for place in islice(places, most):
                    future = pool.submit(self._patiently, client, send, read, place, stop)
                    waiting[future] = place

            try:
                submit(self.config.concurrency)
                while waiting:
                    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                        place, outcome = waiting.pop(future), self._outcome(future)
                        if not isinstance(outcome, Failure):
                            breaker.answered()
                        elif not stop.is_set():
                            breaker.failed(outcome)
                        if breaker.error is None:
                            submit(1)
                        else:
                            stop.set()
                        if breaker.error is None or not isinstance(outcome, Failure):
                            yield place, outcome
            finally:
                stop.set()  # whoever reads no further does not wait for repetitions
        breaker.ended()
        if breaker.error is not None:
            raise breaker.error

    def _connection(self, largest: int, stop: threading.Event) -> Any:
        """Make a client; the key is read now and kept nowhere else."""
        config = self.config
        key = key_of(config)
        base_url = config.base_url or os.environ.get("OPENAI_BASE_URL")
        if not key and not base_url:
            raise ModelError(
                "there is neither a server's address nor a key",
                where="language.server",
                mend="set base_url to your server, as in http://127.0.0.1:8000/v1, or put a key "
                f"for OpenAI's into the environment variable {config.key_variable}",
            )
        return self._openai.OpenAI(
            # a server of one's own asks for none, but the client for any
            api_key=key or "none",
            base_url=base_url,
            timeout=config.timeout,
            http_client=limited_client(self._openai, config.timeout, largest, stop),
        )

    def _patiently(
        self,
        client: Any,
        send: Callable[[Any, int], Any],
        read: Callable[[Any, int], _T],
        place: int,
        stop: threading.Event,
    ) -> _T:
        left, pause = self.config.retries, _PAUSE
        while True:
            # another status than 200 is an error of the client, which repeats it itself
            response = send(client.with_options(max_retries=left), place)
            left -= response.retries_taken + 1
            try:
                return _read(response, read, place)
            except (NoAnswerError, ValueError, RecursionError):
                if left < 0 or stop.wait(pause):
                    raise
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _outcome(self, future: Future[_T]) -> _T | Failure:
        error = future.exception()
        if error is None:
            return future.result()
        failure = failure_of(error, self._openai, self.model, self.config)
        if failure is not None:
            return failure
        if (said := without_key(str(error), self.config)) != str(error):
            raise RuntimeError(said) from None
        raise error


def _read(response: Any, read: Callable[[Any, int], _T], place: int) -> _T:
    """Read a raw response; the client checks nothing of what it holds."""
    try:
        return read(response.parse(), place)
    except (AttributeError, IndexError, KeyError, TypeError):
        raise NoAnswerError from None
