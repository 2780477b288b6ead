"""Answers that cannot be used: how many are too many, and what to say of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

from hnlmrec.errors import ModelError
from hnlmrec.profiles.schema import content_words

REPEATED = "the same answer as to many other questions"
# of one answer: so many different questions may have it, or so large a share of all
_MOST_ALIKE, _MOST_ALIKE_SHARE = 10, 0.01
# answers that fit their own questions less than so many times as well as others are mixed up
_OWN_TIMES, _FEWEST_TO_TELL = 1.3, 20
_LONGEST_EXAMPLE = 60
_REASONS_SHOWN = 3


def check_share(
    reasons: Mapping[int, str],
    examples: Mapping[str, str],
    asked: int,
    limit: float,
    what: str,
    model: str,
) -> None:
    """Stop when too many answers cannot be used.

    Parameters
    ----------
    reasons
        Why each of them cannot.
    examples
        An answer by the reason for which it was rejected.
    asked
        Of how many.
    limit
        The share that may be so.
    what
        What was asked for, in the plural.
    model
        Who was asked, as the cache of answers names it.

    Raises
    ------
    ModelError
        When more cannot be used; it names the most frequent reasons.
    """
    if len(reasons) <= limit * asked:
        return
    most = Counter(reasons.values()).most_common(_REASONS_SHOWN)
    said = ", ".join(f"{n:,} {reason}{_shown(examples.get(reason))}" for reason, n in most)
    raise ModelError(
        f"{len(reasons):,} of {asked:,} {what} have no usable answer of the language model, more "
        f"than {100 * limit:g}%: {said}",
        where="profile.max_fallback_share",
        mend="see what it answers (`hnlmrec profile --sample 5`), then name another model by "
        "profile.model, raise its max_new_tokens or profile.attempts, or else that limit. Answers "
        "are kept, so the same command asks only for what is missing; if the server was at fault, "
        f"forget them: hnlmrec cache --prune --days 0 --model '{model}'",
    )


def repeated(answers: Mapping[int, Hashable], questions: Mapping[int, str]) -> set[int]:
    """Names of the answers that many different questions have word for word.

    Parameters
    ----------
    answers
        By the names of requests.
    questions
        What each request is about; requests about the same may well have the same answer.
    """
    about: dict[Hashable, set[str]] = defaultdict(set)
    for name, answer in answers.items():
        about[answer].add(questions[name])
    most = max(_MOST_ALIKE, _MOST_ALIKE_SHARE * len(questions))
    return {name for name, answer in answers.items() if len(about[answer]) > most}


def mixed_up(pairs: Sequence[tuple[str, str]]) -> str | None:
    """Say that answers seem to belong to other questions, or None.

    A single answer about another item is known only when it shares no word with its own data, as
    answers about like items do; that most are, by what they share with the next question's.

    Parameters
    ----------
    pairs
        The data that was asked about, and the answer to it.
    """
    words = [(content_words(data), content_words(answer)) for data, answer in pairs]
    words = [(data, answer) for data, answer in words if answer]
    if len(words) < _FEWEST_TO_TELL:
        return None
    nexts = [data for data, _ in words[1:] + words[:1]]
    own = sum(len(said & data) / len(said) for data, said in words) / len(words)
    others = zip(nexts, words, strict=True)
    other = sum(len(said & data) / len(said) for data, (_, said) in others) / len(words)
    if own >= _OWN_TIMES * other:
        return None
    return (
        f"warning: {own:.0%} of an answer's words are of the data it was asked about, and "
        f"{other:.0%} of the next question's: does the server mix answers up?"
    )


def fallback_lines(
    fallbacks: Mapping[str, int], instead: str, failed: int, stage: str
) -> list[str]:
    """What to print of the answers that could not be used.

    Parameters
    ----------
    fallbacks
        How many, by reason.
    instead
        What became of them.
    failed
        Questions that a server did not answer.
    stage
        The stage that asked.
    """
    lines = [f"note: {count:,} {instead}: {reason}" for reason, count in fallbacks.items()]
    if failed:
        lines.append(
            f"note: {failed:,} questions had no answer from the server: to ask them again, delete "
            f"the folder {stage} of the run and run the same command"
        )
    return lines


def _shown(answer: str | None) -> str:
    """An answer's first words, with whatever could act on a terminal made visible."""
    return f" (as {answer[:_LONGEST_EXAMPLE]!r})" if answer else ""
