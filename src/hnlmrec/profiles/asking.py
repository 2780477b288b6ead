"""Ask for JSON: check each answer, have it repaired, ask anew; and what that will cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hnlmrec.config import ProfileConfig, ServerConfig
from hnlmrec.language.writer import Writer
from hnlmrec.profiles.prompts import Request
from hnlmrec.profiles.schema import (
    Profile,
    RejectedAnswerError,
    answer_schema,
    check_grounded,
    parse,
)

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
# of an answer, by the number of the attempt
ATTEMPTS = ("at once", "repaired", "asked anew")
# English text has about four
_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Form(Generic[T]):
    """What an answer must be.

    Parameters
    ----------
    what
        Of what kind, in the plural, as progress says it.
    schema
        JSON schema that the model is held to, where it can be.
    read
        Makes the answer's text what it means; a RejectedAnswerError where it cannot be used.
    max_new_tokens
        Longest answer.
    """

    what: str
    schema: dict[str, Any]
    read: Callable[[str, Request], T]
    max_new_tokens: int


@dataclass
class Written(Generic[T]):
    """What came of some requests, by their names.

    Parameters
    ----------
    answers
        The accepted answers.
    reasons
        Why the last answer to each of the others was rejected.
    attempts
        How many were accepted, by `ATTEMPTS`.
    """

    answers: dict[int, T] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)


def profile_form(config: ProfileConfig) -> Form[Profile]:
    """The form of profiles."""

    def read(text: str, request: Request) -> Profile:
        profile = parse(text)
        check_grounded(profile, request.data, request.wording.example)
        return profile

    limit = config.max_new_tokens
    return Form("profiles", answer_schema(limit), read, limit)


def ask(
    requests: Mapping[int, Request],
    form: Form[T],
    config: ProfileConfig,
    writer: Writer,
    progress: Progress | None = None,
) -> Written[T]:
    """Ask until an answer can be used, at most ``config.attempts`` times.

    Parameters
    ----------
    requests
        The requests by some number.
    form
        What answers must be.
    config
        Limit of attempts; how many are asked together.
    writer
        Whom to ask.
    progress
        Called with a text, how many answers are there, and of how many.
    """
    written: Written[T] = Written()
    prompts = {name: request.prompt for name, request in requests.items()}
    for attempt in ATTEMPTS[: config.attempts]:
        names, rejected = list(prompts), {}
        answers = writer.ask(
            list(prompts.values()),
            form.schema,
            max_new_tokens=form.max_new_tokens,
            batch_size=config.batch_size,
        )
        for done, (place, answer) in enumerate(answers, start=1):
            name = names[place]
            request = requests[name]
            try:
                accepted = form.read(answer.text, request)
            except RejectedAnswerError as error:
                written.reasons[name] = str(error)
                rejected[name] = request.repaired(answer.text, str(error))
            else:
                written.answers[name] = accepted
                written.reasons.pop(name, None)
                written.attempts[attempt] = written.attempts.get(attempt, 0) + 1
            if progress is not None:
                progress(f"{form.what} by the language model, {attempt}", done, len(names))
        # in the requests' order, whatever order the answers came in
        prompts = {name: rejected[name] for name in names if name in rejected}
        if attempt == ATTEMPTS[1]:
            prompts = {name: requests[name].without_example() for name in prompts}
    return written


def estimate(
    requests: Mapping[int, Request],
    form: Form[T],
    config: ProfileConfig,
    writer: Writer,
    prices: ServerConfig,
) -> str:
    """Say what the first answers to these requests will cost, as far as that is known."""
    prompts = [request.prompt for request in requests.values()]
    missing = writer.missing(prompts, form.schema, form.max_new_tokens)
    asked = sum(len(message["content"]) for prompt in missing for message in prompt)
    asked //= _CHARACTERS_A_TOKEN
    answered = len(missing) * form.max_new_tokens
    text = (
        f"{len(requests):,} {form.what}, {len(missing):,} questions to ask: about {asked:,} tokens "
        f"of prompts and at most {answered:,} of answers"
    )
    cost = (asked * prices.price_prompt + answered * prices.price_answer) / 1e6
    if cost:
        text += f", at most {cost:,.2f} at language.server's prices"
    pace = writer.cache.seconds_an_answer(writer.identity)
    if missing and pace is not None:
        text += f"; {_duration(pace * len(missing))} at the pace of this model's answers so far"
    return f"{text}; more where answers are rejected" if config.attempts > 1 else text


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.0f} s"
