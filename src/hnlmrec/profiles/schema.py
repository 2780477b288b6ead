"""What an answer of the language model must be: `Profile`, its JSON schema, and the checks."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hnlmrec.profiles.text import plain_words

MAX_WORDS = 100

# the braces, keys, quotes and the end of an answer
_SKELETON_TOKENS = 16
# English text has four and more; the margin is for names and other languages
_CHARACTERS_A_TOKEN = 3
_SUMMARY_SHARE = 0.6
_COPIED_SHARE = 0.5
_DISTINCT_SHARE = 0.5
# words that any answer may use: they say nothing of where it comes from
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """about also and any are both categories category enjoy enjoyed enjoys for from fan fans
        film films good great has have her his into item items its kind like liked likes likely
        love many more most movie movies not one other people product products series shows some
        story such that the their them they this title titles type user users various very was
        well were what which who will with would you""",
    )
)


class RejectedAnswerError(ValueError):
    """An answer that is no profile; the message is one of a few fixed reasons."""


class Profile(BaseModel):
    """What the language model says of a user or an item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summarization: str
    reasoning: str


def answer_schema(max_new_tokens: int) -> dict[str, Any]:
    """Build the JSON schema of an answer, with strings short enough for ``max_new_tokens``."""
    characters = longest_text(max_new_tokens)
    summary = int(characters * _SUMMARY_SHARE)
    longest = {"summarization": summary, "reasoning": characters - summary}
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "minLength": 1, "maxLength": most}
            for name, most in longest.items()
        },
        "required": list(longest),
        "additionalProperties": False,
    }


def longest_text(max_new_tokens: int) -> int:
    """Characters of all strings of an answer together that fit into so many tokens."""
    return max(max_new_tokens - _SKELETON_TOKENS, 1) * _CHARACTERS_A_TOKEN


def parse(answer: str) -> Profile:
    """Read an answer; words and fences around its braces are passed over.

    Raises
    ------
    RejectedAnswerError
        When it is not a complete profile, has more than `MAX_WORDS` words, or goes in circles.
    """
    # a model that is not held to the schema puts its JSON into a sentence, or a block of Markdown
    braces = answer[answer.find("{") : answer.rfind("}") + 1]
    try:
        profile = Profile.model_validate_json(braces)
    except ValidationError:
        raise RejectedAnswerError("not a complete profile in JSON") from None
    profile = Profile(
        # later prompts quote it, and what it was written from is not to be trusted
        summarization=plain_words(profile.summarization),
        reasoning=plain_words(profile.reasoning),
    )
    if not profile.summarization:
        raise RejectedAnswerError("empty summarization")
    words = profile.summarization.lower().split()
    if len(words) > MAX_WORDS:
        raise RejectedAnswerError(f"summarization of more than {MAX_WORDS} words")
    if len(set(words)) < _DISTINCT_SHARE * len(words):
        raise RejectedAnswerError("repeats itself")
    return profile


def check_grounded(profile: Profile, data: str, example: str) -> None:
    """Refuse an answer that does not come from its data: small models copy examples.

    Parameters
    ----------
    profile
        The answer.
    data
        The text that the profile was asked about.
    example
        The example in the prompt, question and answer.

    Raises
    ------
    RejectedAnswerError
        When half of a text's content words are the example's and not the data's, or no content
        word of the summarization is the data's.
    """
    known = content_words(data)
    foreign = content_words(example) - known
    for text in (profile.summarization, profile.reasoning):
        said = content_words(text)
        if said and len(said & foreign) >= _COPIED_SHARE * len(said):
            raise RejectedAnswerError("repeats the example")
    if not content_words(profile.summarization) & known:
        raise RejectedAnswerError("shares no word with its data")


def content_words(text: str) -> set[str]:
    """Collect words of three letters and more that mean something, cut to five as a crude stem."""
    words = re.findall(r"[^\W\d_]{3,}", text.lower())
    return {word[:5] for word in words if word not in _COMMON}
