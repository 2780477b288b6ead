from __future__ import annotations

import json

import pytest

from hnlmrec.profiles.schema import (
    Profile,
    RejectedAnswerError,
    answer_schema,
    check_grounded,
    content_words,
    parse,
)
from hnlmrec.profiles.wording import Wording

DATA = "Alien (1979) Horror, Sci-Fi"
EXAMPLE = "The Copper Kettle Cookware, Antiques; for people who collect old kitchen pieces."


def answer(summarization: str, reasoning: str = "It says so.") -> str:
    return json.dumps({"summarization": summarization, "reasoning": reasoning})


def test_reads_a_profile_and_joins_its_lines() -> None:
    assert parse(answer(" Horror\n in  space. ")) == Profile(
        summarization="Horror in space.", reasoning="It says so."
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a complete profile in JSON"),
        ("Horror in space.", "not a complete profile in JSON"),
        (answer("Horror in space.")[:-8], "not a complete profile in JSON"),
        ('{"summarization": "Horror"}', "not a complete profile in JSON"),
        ('{"summarization": 1, "reasoning": "a"}', "not a complete profile in JSON"),
        ('{"summarization": "a", "reasoning": "a", "more": "a"}', "not a complete profile in JSON"),
        (answer("  "), "empty summarization"),
        (answer(" ".join(f"w{n}" for n in range(101))), "summarization of more than 100 words"),
        (answer("the best of " * 9), "repeats itself"),
    ],
)
def test_refuses_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(RejectedAnswerError, match=reason):
        parse(text)


def test_a_hundred_words_are_not_too_many() -> None:
    assert parse(answer(" ".join(f"w{n}" for n in range(100))))


@pytest.mark.parametrize(
    ("summarization", "reasoning", "reason"),
    [
        ("Cookware for people who collect kitchen pieces.", "Horror.", "repeats the example"),
        ("Horror for those who dare.", "Cookware and Antiques.", "repeats the example"),
        ("Something pleasant.", "It says so.", "shares no word with its data"),
        ("", "", "shares no word with its data"),
    ],
)
def test_refuses_what_does_not_come_from_the_data(
    summarization: str, reasoning: str, reason: str
) -> None:
    profile = Profile(summarization=summarization, reasoning=reasoning)
    with pytest.raises(RejectedAnswerError, match=reason):
        check_grounded(profile, DATA, EXAMPLE)


def test_accepts_the_data_s_words_even_where_the_example_has_them_too() -> None:
    profile = Profile(summarization="An antique kettle, for collectors.", reasoning="Antiques.")
    check_grounded(profile, "Kettle Antiques", EXAMPLE)
    with pytest.raises(RejectedAnswerError, match="repeats the example"):
        check_grounded(profile, DATA, EXAMPLE)


@pytest.mark.parametrize("kind", ["users", "items"])
def test_the_example_s_own_answer_counts_as_copied(kind) -> None:
    wording = Wording.read(kind)
    profile = Profile.model_validate(wording.example_answer)
    with pytest.raises(RejectedAnswerError, match="repeats the example"):
        check_grounded(profile, DATA, wording.example)


@pytest.mark.parametrize(
    "around", ["Here it is:\n```json\n%s\n```\nI hope that helps.", "%s", "\n %s<|im_end|>"]
)
def test_what_stands_around_the_json_is_passed_over(around: str) -> None:
    assert parse(around % answer("Horror in space.")).summarization == "Horror in space."


def test_content_words_by_hand() -> None:
    assert content_words("The films: Comedies, 1995 sci-fi & Été?") == {"comed", "sci", "été"}


def test_a_full_answer_fits_into_its_tokens() -> None:
    schema = answer_schema(160)
    longest = [field["maxLength"] for field in schema["properties"].values()]
    assert sum(longest) == (160 - 16) * 3
    assert longest[0] > longest[1]
    assert set(schema["required"]) == set(Profile.model_fields)
    tiny = answer_schema(16)["properties"].values()
    assert all(0 < field["minLength"] <= field["maxLength"] for field in tiny)
