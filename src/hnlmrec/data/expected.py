"""What was prepared, beside what someone else reports of the same data."""

from __future__ import annotations

from hnlmrec.config import ExpectedConfig
from hnlmrec.data.prepare import PrepareReport

# relative difference beyond which another cause than chance must be looked for
_TOLERANCE = 0.01


def compare_counts(report: PrepareReport, expected: ExpectedConfig) -> list[str]:
    """Say how many users, items and interactions were found and expected, and how far off that is.

    Returns
    -------
    lines
        A heading, a line for each number that is expected, and a note when one of them differs by
        more than 1%.
    """
    counted = {
        "users": (report.users, expected.users),
        "items": (report.items, expected.items),
        "interactions": (sum(report.interactions.values()), expected.interactions),
    }
    lines, off = [f"beside the numbers of {expected.source}:"], []
    for name, (found, theirs) in counted.items():
        if theirs is None:
            continue
        difference = (found - theirs) / theirs
        lines.append(f"{name}: {found:,} found, {theirs:,} expected ({difference:+.2%})")
        if abs(difference) > _TOLERANCE:
            off.append(name)
    if off:
        lines.append(
            f"note: {', '.join(off)} off by more than {_TOLERANCE:.0%}: the files may be of "
            "another release, or data.min_rating, since, until or core other than theirs"
        )
    return lines
