"""Ask for JSON: check each answer, have it repaired, ask anew; and what that will cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

from hnlmrec.config import ProfileConfig, ServerConfig
from hnlmrec.language.writer import Writer
from hnlmrec.profiles.fallbacks import REPEATED, check_share, repeated
from hnlmrec.profiles.prompts import Request
from hnlmrec.profiles.schema import (
    Profile,
    RejectedAnswerError,
    answer_schema,
    check_grounded,
    parse,
)

T = TypeVar("T", bound=Hashable)
Progress = Callable[[str, int, int], None]
# of an answer, by the number of the attempt
ATTEMPTS = ("at once", "repaired", "asked anew")
# English text has about four
_CHARACTERS_A_TOKEN = 4
# requests that are settled before the next are begun, so that a model that writes nothing of use
# is found out before all are paid for
_TOGETHER = 4096


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
    unlike
        Whether the same answer to many different questions is of no use.
    """

    what: str
    schema: dict[str, Any]
    read: Callable[[str, Request], T]
    max_new_tokens: int
    unlike: bool = False


@dataclass
class Written(Generic[T]):
    """What came of some requests, by their names.

    Parameters
    ----------
    answers
        The accepted answers.
    reasons
        Why each of the others has none: why the last one was rejected, or did not come.
    attempt
        At which of the `ATTEMPTS` an answer was accepted.
    examples
        A rejected answer by the reason.
    open
        Those of which a question has not been answered: of a writer that asks nobody.
    """

    answers: dict[int, T] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    attempt: dict[int, str] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    @property
    def attempts(self) -> dict[str, int]:
        """How many answers were accepted at which attempt."""
        counts = Counter(self.attempt[name] for name in self.answers)
        return {attempt: counts[attempt] for attempt in ATTEMPTS if counts[attempt]}

    @property
    def fallbacks(self) -> dict[str, int]:
        """How many have no answer, by reason."""
        return dict(sorted(Counter(self.reasons.values()).items()))


def profile_form(config: ProfileConfig) -> Form[Profile]:
    """The form of profiles."""

    def read(text: str, request: Request) -> Profile:
        profile = parse(text)
        check_grounded(profile, request.data, request.wording.example)
        return profile

    limit = config.max_new_tokens
    return Form("profiles", answer_schema(limit), read, limit, unlike=True)


def ask(
    requests: Mapping[int, Request],
    form: Form[T],
    config: ProfileConfig,
    writer: Writer,
    progress: Progress | None = None,
    *,
    limit: float = 1.0,
) -> Written[T]:
    """Ask until an answer can be used, at most ``config.attempts`` times.

    A question that a server did not answer, in spite of all repetitions, is not asked again.

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
    limit
        Share of requests that may end without an answer.

    Raises
    ------
    ModelError
        When more do, or the model cannot be asked any more.
    """
    written: Written[T] = Written()
    names = list(requests)

    def check() -> None:
        check_share(
            written.reasons, written.examples, len(names), limit, form.what, writer.identity
        )

    for start in range(0, len(names), _TOGETHER):
        some = {name: requests[name] for name in names[start : start + _TOGETHER]}
        note = partial(_say, progress, form.what, start + len(some), len(names))
        _ask_some(some, form, config, writer, written, note)
        check()
    if form.unlike:
        questions = {name: request.data for name, request in requests.items()}
        for name in sorted(repeated(written.answers, questions)):
            del written.answers[name]
            written.reasons[name] = REPEATED
        check()
    return written


def _ask_some(
    requests: Mapping[int, Request],
    form: Form[T],
    config: ProfileConfig,
    writer: Writer,
    written: Written[T],
    note: Callable[[str, int], None],
) -> None:
    """Ask for some; ``note`` is called with the attempt and how many are still open in it."""
    prompts = {name: request.prompt for name, request in requests.items()}
    for attempt in ATTEMPTS[: config.attempts]:
        names, rejected = list(prompts), {}
        unanswered = set(names)
        answers = writer.ask(
            list(prompts.values()),
            form.schema,
            max_new_tokens=form.max_new_tokens,
            batch_size=config.batch_size,
        )
        for done, (place, answer) in enumerate(answers, start=1):
            name = names[place]
            request = requests[name]
            unanswered.discard(name)
            try:
                if answer.failure:
                    written.reasons[name] = answer.failure
                else:
                    written.answers[name] = form.read(answer.text, request)
                    written.attempt[name] = attempt
                    written.reasons.pop(name, None)
            except RejectedAnswerError as error:
                reason = written.reasons[name] = str(error)
                written.examples.setdefault(reason, answer.text)
                rejected[name] = request.repaired(answer.text, reason)
            note(attempt, len(names) - done)
        written.open |= unanswered
        # in the requests' order, whatever order the answers came in
        prompts = {name: rejected[name] for name in names if name in rejected}
        if attempt == ATTEMPTS[1]:
            prompts = {name: requests[name].without_example() for name in prompts}


def _say(
    progress: Progress | None, what: str, begun: int, total: int, attempt: str, open_: int
) -> None:
    if progress is not None:
        progress(f"{what} by the language model, {attempt}", begun - open_, total)


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
