"""When a server is asked no more."""

from __future__ import annotations

import pytest

from hnlmrec.errors import ModelError
from hnlmrec.language.failure import Breaker, Failure

SILENT = Failure("late", ModelError("the server does not answer", mend="wait"))
REFUSED = Failure("no", ModelError("the server refuses the request"), refused=True)
FINAL = Failure("key", ModelError("the server refuses the key"), final=True)


def after(events: str, limit: int = 3, *, proven: bool = False) -> str | None:
    """What is wrong after answers, silence, refusals, a refused key (a, s, r, f), an end (.)."""
    breaker = Breaker(limit, proven=proven)
    for event in events:
        if event == "a":
            breaker.answered()
        elif event == ".":
            breaker.ended()
        else:
            breaker.failed({"s": SILENT, "r": REFUSED, "f": FINAL}[event])
    return breaker.error.what if breaker.error else None


@pytest.mark.parametrize("events", ["", "ss", "ssassass.", "as.", "rrar.", "arrrrrrr.", "assrss."])
def test_few_failures_among_signs_of_life_are_not_the_end(events: str) -> None:
    assert after(events) is None


@pytest.mark.parametrize(
    "events", ["sss", "assas" + "ss", "s.", "ss.", "aasss", "rrr", "r.", "srs"]
)
def test_many_in_a_row_are_the_end_and_so_is_a_server_that_never_answered(events: str) -> None:
    assert after(events) is not None


def test_one_that_all_share_is_the_end_at_once() -> None:
    assert after("aaf") == "the server refuses the key"


def test_a_server_that_is_known_to_answer_may_refuse_any_number_of_questions() -> None:
    assert after("rrrrrr.", proven=True) is None
    assert after("sss", proven=True) is not None


def test_the_first_cause_is_told_with_how_many_failed() -> None:
    assert after("asssf") == (
        "the server does not answer; 3 requests failed in a row, so no more are sent"
    )
