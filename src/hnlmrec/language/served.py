"""A language model behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, a cloud."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

from hnlmrec.config import ServerConfig
from hnlmrec.config.loading import without_password
from hnlmrec.errors import ModelError
from hnlmrec.language.extras import require
from hnlmrec.language.protocol import Answer, Prompt

_TEXTS_A_REQUEST = 128
_LONGEST_MESSAGE = 300
_T = TypeVar("_T")


class ServedLanguageModel:
    """Asks a server, several requests at a time; see `LanguageModel` for what it does.

    The client repeats what failed (no connection, a time-out, statuses 408, 409, 429 and from 500)
    after pauses that double, with jitter, or that the server's ``Retry-After`` names; answers that
    are no chat completion are asked for again here.

    Parameters
    ----------
    model
        The model's name on the server.
    config
        The server.
    """

    writes = True

    def __init__(self, model: str, config: ServerConfig) -> None:
        self.model, self.config = model, config
        self._openai = require("openai", extra="served")

    @cached_property
    def width(self) -> int:
        """Size of a text's vector."""
        return self.encode(["width"]).shape[1]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Give the server's embedding of each text, float32 ``[n, width]``."""
        starts = range(0, len(texts), _TEXTS_A_REQUEST)
        parts: list[Tensor] = [torch.empty(0)] * len(starts)
        with self._connection() as client:

            def ask(place: int) -> Tensor:
                some = list(texts[starts[place] : starts[place] + _TEXTS_A_REQUEST])
                response = client.embeddings.create(
                    model=self.model, input=some, encoding_format="float"
                )
                rows = sorted(getattr(response, "data", None) or (), key=lambda row: row.index)
                if len(rows) != len(some):
                    raise _NoAnswerError
                return torch.tensor([row.embedding for row in rows], dtype=torch.float32)

            for place, vectors in self._as_done(ask, len(starts)):
                parts[place] = vectors
        return torch.cat(parts) if parts else torch.zeros(0, self.width)

    def generate_json(
        self,
        prompts: Sequence[Prompt],
        schema: dict[str, Any],
        *,
        max_new_tokens: int,
        batch_size: int,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield places and answers as they come; ``batch_size`` is of no use here.

        Raises
        ------
        ModelError
            When a request fails for good; those under way are waited for and yielded before.
        """
        options = self._options(schema, max_new_tokens)
        with self._connection() as client:

            def ask(place: int) -> Answer:
                completion = client.chat.completions.create(
                    model=self.model, messages=list(prompts[place]), **options
                )
                choices = getattr(completion, "choices", None)
                if not choices or choices[0].message is None:
                    raise _NoAnswerError
                usage = completion.usage
                return Answer(
                    self._without_key(choices[0].message.content or ""),
                    usage.prompt_tokens if usage else 0,
                    usage.completion_tokens if usage else 0,
                    choices[0].finish_reason != "length",
                )

            yield from self._as_done(ask, len(prompts))

    def _options(self, schema: dict[str, Any], max_new_tokens: int) -> dict[str, Any]:
        options: dict[str, Any] = {self.config.limit_key: max_new_tokens}
        if self.config.temperature is not None:
            options["temperature"] = self.config.temperature
        kind = self.config.response_format
        if kind == "json_object":
            options["response_format"] = {"type": "json_object"}
        elif kind != "text":
            wanted = schema if kind == "json_schema" else without_lengths(schema)
            options["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "schema": wanted, "strict": True},
            }
        return options

    def _connection(self) -> Any:
        """Make a client; the key is read now and kept nowhere else."""
        config, key = self.config, self._key()
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
            max_retries=config.retries,
        )

    def _as_done(self, ask: Callable[[int], _T], n: int) -> Iterator[tuple[int, _T]]:
        """Yield ``ask(place)`` of each place as it is done, with few under way at a time."""
        places = iter(range(n))
        failure: Exception | None = None
        with ThreadPoolExecutor(self.config.concurrency) as pool:
            first = islice(places, self.config.concurrency)
            waiting: dict[Future[_T], int] = {
                pool.submit(self._patiently, ask, place): place for place in first
            }
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    place = waiting.pop(future)
                    error = future.exception()
                    if error is not None:
                        failure = failure or self._explained(error)
                        continue
                    if failure is None:
                        for following in islice(places, 1):
                            waiting[pool.submit(self._patiently, ask, following)] = following
                    yield place, future.result()
        if failure is not None:
            raise failure

    def _patiently(self, ask: Callable[[int], _T], place: int) -> _T:
        for _ in range(self.config.retries):
            try:
                return ask(place)
            except (_NoAnswerError, ValueError):
                continue  # another status than 200 is an error of the client and not of these
        return ask(place)

    def _explained(self, error: BaseException) -> Exception:
        """What the user can do about a request that failed for good."""
        api, config = self._openai, self.config
        kept = "run the same command again: the answers so far are kept"
        url = str(config.base_url or os.environ.get("OPENAI_BASE_URL") or "OpenAI's server")
        url = self._without_key(without_password(url))
        if isinstance(error, api.AuthenticationError | api.PermissionDeniedError):
            # its message may quote the key
            what = "the server refuses the key"
            mend = f"put a valid one into the environment variable {config.key_variable}"
        elif isinstance(error, api.NotFoundError):
            what = f"the server knows no model {self.model!r}, or no such path"
            mend = "see its list of models, and language.server.base_url, which ends in /v1 mostly"
        elif isinstance(error, api.RateLimitError):
            what = f"the server refuses more requests, after {config.retries} repetitions"
            mend = f"lower language.server.concurrency, or wait; then {kept}"
        elif isinstance(error, api.APIConnectionError):  # a time-out is one, too
            what = f"the server does not answer ({self._without_key(str(error))})"
            mend = f"see language.server.base_url and language.server.timeout; then {kept}"
        elif isinstance(error, api.APIStatusError):
            said = self._without_key(str(error))[:_LONGEST_MESSAGE]
            what = f"the server refuses the request ({said})"
            mend = (
                "for what it does not know there are response_format, limit_key and temperature "
                f"in language.server; then {kept}"
            )
        elif isinstance(error, _NoAnswerError | ValueError):
            what = "what the server sends is no answer of the OpenAI kind"
            mend = f"see language.server.base_url; then {kept}"
        else:
            said = self._without_key(str(error))
            if isinstance(error, Exception) and said == str(error):
                return error
            return RuntimeError(said)
        return ModelError(what, where=url, mend=mend)

    def _key(self) -> str:
        """The key; a ModelError for one that no header can hold, which others would quote."""
        key = os.environ.get(self.config.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ModelError(
                "the key holds a character that no key has, such as a line break",
                where=f"environment variable {self.config.key_variable}",
                mend="put the key alone into it",
            )
        return key

    def _without_key(self, text: str) -> str:
        """What the server says, which may be the key that it was sent."""
        key = self._key()
        return text.replace(key, "***") if key else text


class _NoAnswerError(Exception):
    """A response of status 200 that holds no answer."""


def without_lengths(schema: Any) -> Any:
    """A JSON schema without the lengths of its strings."""
    if isinstance(schema, dict):
        return {
            key: without_lengths(value)
            for key, value in schema.items()
            if key not in ("minLength", "maxLength")
        }
    return schema
