from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.config import ExpectedConfig
from hnlmrec.data.expected import compare_counts
from hnlmrec.data.prepare import PrepareReport
from hnlmrec.errors import ArtifactError


def report(users: int, items: int, interactions: int) -> PrepareReport:
    return PrepareReport(
        steps=[],
        users=users,
        items=items,
        interactions={"train": interactions - 2, "valid": 1, "test": 1},
        density=0.5,
        items_without_text=0,
        reviews=0,
        notes=[],
    )


def test_numbers_stand_beside_those_expected() -> None:
    expected = ExpectedConfig(users=22_338, items=9_023, interactions=200_511, source="the paper")
    assert compare_counts(report(22_338, 9_100, 190_000), expected) == [
        "beside the numbers of the paper:",
        "users: 22,338 found, 22,338 expected (+0.00%)",
        "items: 9,100 found, 9,023 expected (+0.85%)",
        "interactions: 190,000 found, 200,511 expected (-5.24%)",
        "note: interactions off by more than 1%: the files may be of another release, or "
        "data.min_rating, since, until or core other than theirs",
    ]


def test_what_is_not_expected_is_not_compared() -> None:
    lines = compare_counts(report(100, 5, 1000), ExpectedConfig(users=100))
    assert lines == [
        "beside the numbers of data.expected:",
        "users: 100 found, 100 expected (+0.00%)",
    ]


@given(st.integers(1, 10**9), st.integers(-300, 300))
def test_a_note_only_beyond_one_percent(expected: int, per_myriad: int) -> None:
    found = max(1, expected + expected * per_myriad // 10_000)
    lines = compare_counts(report(found, 1, 10), ExpectedConfig(users=expected, items=1))
    noted = any(line.startswith("note: users off") for line in lines)
    assert noted == (100 * abs(found - expected) > expected)


def test_a_missing_report_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="hnlmrec prepare"):
        PrepareReport.load(tmp_path)
