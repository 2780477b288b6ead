"""`Writer`: asks a language model for JSON, but never twice for the same, and counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hnlmrec.config import LanguageConfig
from hnlmrec.errors import ModelError
from hnlmrec.language.cache import AnswerCache, Kept, answer_key, default_path
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.language.locate import locate
from hnlmrec.language.protocol import Answer, LanguageModel, Prompt
from hnlmrec.language.served import ServedLanguageModel


@dataclass
class Usage:
    """What was asked of a model: answers ``asked`` for and ``cached`` ones, tokens of the former.

    ``cut`` counts answers that ended at the limit of tokens, ``failed`` questions that a server
    did not answer.
    """

    asked: int = 0
    cached: int = 0
    cut: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


class Writer:
    """Asks the cache first, then the model, which is loaded only when there is something to ask.

    Parameters
    ----------
    identity
        What tells the model's answers from those of any other.
    load
        Gives the model.
    cache
        Where answers are kept.

    Attributes
    ----------
    failures
        Questions that were asked in vain, by their keys, and why: they are not asked again.
    """

    def __init__(
        self, identity: str, load: Callable[[], LanguageModel], cache: AnswerCache
    ) -> None:
        self.identity, self._load, self.cache = identity, load, cache
        self.usage = Usage()
        self.failures: dict[str, str] = {}

    @classmethod
    def of(
        cls, config: LanguageConfig, model: str | None = None, cache: AnswerCache | None = None
    ) -> Writer:
        """The writer of ``model``, or of the configuration's; into ``cache``, or its own."""
        config = config.model_copy(update={"model": model or config.model})
        cache = cache or AnswerCache(config.answers or default_path())
        if config.served_model is None:
            identity = f"{config.model} ({_fingerprint(config)})"
        else:
            server = config.server
            identity = f"{config.model} ({server.response_format}, {server.temperature})"

        def load() -> LanguageModel:
            return model_of(config, proven=cache.seconds_an_answer(identity) is not None)

        return cls(identity, load, cache)

    @cached_property
    def model(self) -> LanguageModel:
        """The model, loaded when first asked for."""
        return self._load()

    def missing(
        self, prompts: Sequence[Prompt], schema: dict[str, Any], max_new_tokens: int
    ) -> list[Prompt]:
        """The distinct prompts that the model would have to answer."""
        keys = self.keys(prompts, schema, max_new_tokens)
        found = self.cache.find(keys)
        distinct = dict(zip(keys, prompts, strict=True))
        return [prompt for key, prompt in distinct.items() if key not in found]

    def ask(
        self,
        prompts: Sequence[Prompt],
        schema: dict[str, Any],
        *,
        max_new_tokens: int,
        batch_size: int,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the place of a prompt and its answer, one a prompt, those of the cache first.

        An answer is in the cache before it is yielded; an empty one is not kept.

        Raises
        ------
        ModelError
            When the model cannot be asked any more; it says how many answers are kept.
        """
        keys = self.keys(prompts, schema, max_new_tokens)
        places: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        found = self.cache.find(keys)
        self.cache.count_use(list(found))
        for key, answer in found.items():
            self.usage.cached += len(places[key])
            yield from ((place, answer) for place in places[key])
        for key in [key for key in places if key in self.failures and key not in found]:
            failed = Answer("", whole=False, failure=self.failures[key])
            self._count(failed)
            yield from ((place, failed) for place in places[key])
        open_ = [key for key in places if key not in found and key not in self.failures]
        if not open_:
            return
        model = self.model
        start = time.perf_counter()  # loading it is not of an answer's time
        written = model.generate_json(
            [prompts[places[key][0]] for key in open_],
            schema,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
        )
        with self._saying_what_is_kept():
            for number, answer in written:
                now = time.perf_counter()
                key = open_[number]
                if answer.failure:
                    self.failures[key] = answer.failure
                if answer.text:
                    self.cache.add(key, self.identity, answer, now - start)
                start = now
                self._count(answer)
                yield from ((place, answer) for place in places[key])

    def keys(
        self, prompts: Sequence[Prompt], schema: dict[str, Any], max_new_tokens: int
    ) -> list[str]:
        """What the answers to prompts are kept under."""
        return [answer_key(prompt, schema, self.identity, max_new_tokens) for prompt in prompts]

    @contextmanager
    def _saying_what_is_kept(self) -> Iterator[None]:
        try:
            yield
        except ModelError as error:
            came, known = self.usage.asked, self.usage.cached
            kept = f"{came:,} new answers and {known:,} known before are kept in {self.cache.path}"
            raise ModelError(f"{error.what}; {kept}", where=error.where, mend=error.mend) from None

    def _count(self, answer: Answer) -> None:
        if answer.failure:
            self.usage.failed += 1
            return
        self.usage.asked += 1
        self.usage.cut += not answer.whole
        self.usage.prompt_tokens += answer.prompt_tokens
        self.usage.answer_tokens += answer.answer_tokens


class KeptAnswers(Writer):
    """Gives the answers that are kept, and asks nobody.

    Attributes
    ----------
    found
        What it has given.
    """

    def __init__(self, identity: str, cache: AnswerCache) -> None:
        super().__init__(identity, _nobody, cache)
        self.found: list[Kept] = []

    def ask(
        self,
        prompts: Sequence[Prompt],
        schema: dict[str, Any],
        *,
        max_new_tokens: int,
        batch_size: int,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the place of a prompt and its answer, of those that have one."""
        keys = self.keys(prompts, schema, max_new_tokens)
        found = self.cache.find(keys)
        self.found += [(key, self.identity, answer, 0.0) for key, answer in found.items()]
        yield from ((place, found[key]) for place, key in enumerate(keys) if key in found)


def _nobody() -> LanguageModel:
    raise AssertionError("nobody is asked")


def model_of(config: LanguageConfig, *, proven: bool = False) -> LanguageModel:
    """The configured model; ``proven`` says whether its server has answered before."""
    if config.served_model is not None:
        return ServedLanguageModel(config.served_model, config.server, proven=proven)
    return LocalLanguageModel.load(config)


def _fingerprint(config: LanguageConfig) -> str:
    """A hash of the names, sizes and times of a local model's files, and of its precision."""
    from hnlmrec.artifacts import content_key

    files = sorted(path for path in locate(config.model).iterdir() if path.is_file())
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return content_key(facts, config.dtype)[:16]
