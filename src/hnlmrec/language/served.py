"""A language model behind an OpenAI-compatible server: vLLM, llama.cpp, Ollama, a cloud."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from hnlmrec.config import ServerConfig
from hnlmrec.errors import ModelError
from hnlmrec.language.failure import Breaker, Failure, NoAnswerError, key_of
from hnlmrec.language.protocol import Answer, Prompt
from hnlmrec.language.requests import Requests

_TEXTS_A_REQUEST = 128
_MIB = 2**20
# of a response: an answer is kilobytes, and so many vectors of 8,192 numbers are 30 MiB
_LARGEST_ANSWER, _LARGEST_VECTORS = 4 * _MIB, 64 * _MIB
# English has four; a server that heeds no limit of tokens may send any number
_CHARACTERS_A_TOKEN = 16
_MOST_TOKENS = 2**31
# keys are longer than this, and placeholders such as "none" are not
_SHORTEST_SECRET = 16


class ServedLanguageModel:
    """Asks a server, several requests at a time; see `LanguageModel` for what it does.

    Parameters
    ----------
    model
        The model's name on the server.
    config
        The server.
    proven
        Whether it has answered before, so that a question that it refuses is at fault itself.
    """

    writes = True

    def __init__(self, model: str, config: ServerConfig, *, proven: bool = False) -> None:
        self.model, self.config = model, config
        self._requests = Requests(model, config)
        self._breaker = Breaker(config.give_up_after, proven=proven)

    @cached_property
    def width(self) -> int:
        """Size of a text's vector."""
        return self.encode(["width"]).shape[1]

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Give the server's embedding of each text, float32 ``[n, width]``.

        Raises
        ------
        ModelError
            When a request fails for good: nothing can stand in for a vector.
        """
        starts = range(0, len(texts), _TEXTS_A_REQUEST)
        parts: list[Tensor] = [torch.empty(0)] * len(starts)

        def texts_of(place: int) -> list[str]:
            return list(texts[starts[place] : starts[place] + _TEXTS_A_REQUEST])

        def send(client: Any, place: int) -> Any:
            return client.embeddings.with_raw_response.create(
                model=self.model, input=texts_of(place), encoding_format="float"
            )

        def read(response: Any, place: int) -> Tensor:
            return _vectors(response, len(texts_of(place)))

        asked = self._requests.as_done(send, read, len(starts), _LARGEST_VECTORS, Breaker(1))
        for place, vectors in asked:
            assert not isinstance(vectors, Failure)  # one of them opens the breaker
            parts[place] = vectors
        if len({part.shape[1] for part in parts}) > 1:
            raise ModelError(
                f"the server's vectors are of several widths, for one model {self.model!r}",
                where="language.model",
                mend="see what the server embeds with",
            )
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

        A request that failed for good is an answer without text that says why.

        Raises
        ------
        ModelError
            When ``give_up_after`` requests in a row have failed for good, or one for a reason that
            others share: then no more are sent, and answers under way are yielded before.
        """
        options = self._options(schema, max_new_tokens)

        def send(client: Any, place: int) -> Any:
            return client.chat.completions.with_raw_response.create(
                model=self.model, messages=list(prompts[place]), **options
            )

        def read(response: Any, _: int) -> Answer:
            return self._answer(response, max_new_tokens)

        asked = self._requests.as_done(send, read, len(prompts), _LARGEST_ANSWER, self._breaker)
        for place, outcome in asked:
            if isinstance(outcome, Failure):
                outcome = Answer("", whole=False, failure=outcome.reason)
            yield place, outcome

    def _answer(self, completion: Any, max_new_tokens: int) -> Answer:
        """Read a completion, cut to what so many tokens can hold."""
        choice, usage = completion.choices[0], completion.usage
        text = choice.message.content or ""
        if not isinstance(text, str):
            raise NoAnswerError
        key = key_of(self.config)
        if len(key) >= _SHORTEST_SECRET:
            text = text.replace(key, "***")  # a server's words are kept and shown
        longest = max_new_tokens * _CHARACTERS_A_TOKEN
        return Answer(
            text[:longest],
            _count(usage, "prompt_tokens"),
            _count(usage, "completion_tokens"),
            choice.finish_reason != "length" and len(text) <= longest,
        )

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


def _vectors(response: Any, n: int) -> Tensor:
    """The vectors of a response in the order of their texts, float32 ``[n, width]``."""
    rows = sorted(response.data, key=lambda row: row.index)
    if [row.index for row in rows] != list(range(n)):
        raise NoAnswerError
    vectors = torch.tensor([row.embedding for row in rows], dtype=torch.float32)
    if vectors.dim() != 2 or not vectors.isfinite().all():
        raise NoAnswerError
    return vectors


def _count(usage: Any, name: str) -> int:
    """A number of tokens, 0 where the server gives none that can be one."""
    count = getattr(usage, name, None)
    return count if isinstance(count, int) and 0 <= count < _MOST_TOKENS else 0


def without_lengths(schema: Any) -> Any:
    """A JSON schema without the lengths of its strings."""
    if isinstance(schema, dict):
        return {
            key: without_lengths(value)
            for key, value in schema.items()
            if key not in ("minLength", "maxLength")
        }
    return schema
