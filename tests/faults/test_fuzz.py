"""Bytes that nobody would write: no traceback, no hang, whatever is read.

``HNLMREC_FUZZ=5000`` draws so many examples of each target, and others each time.
"""

from __future__ import annotations

import os
import warnings

import pytest
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("HNLMREC_FUZZ", "0"))
PROFILE = settings(
    max_examples=EXAMPLES or 15,
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def damaged(draw, right: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """Right bytes with some of them gone, doubled or replaced; or others altogether."""
    some = st.binary(max_size=8)
    piece = st.one_of(some, st.sampled_from(tokens)) if tokens else some
    if draw(st.integers(0, 9)) == 0:
        return b"".join(draw(st.lists(piece, max_size=60)))
    content = bytearray(right)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        upto = draw(st.one_of(st.just(at), st.integers(at, min(at + 30, len(content)))))
        content[at:upto] = draw(st.one_of(piece, st.just(bytes(content[at:upto] * 2))))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_are_explained(name: str) -> None:
    target = TARGETS[name]

    @PROFILE
    @example(target.right)
    @example(b"")
    @given(damaged(target.right, target.tokens))
    def read(content: bytes) -> None:
        with warnings.catch_warnings():
            # of literals in the files
            warnings.simplefilter("ignore")
            target(content)

    read()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right_is_read(name: str, tmp_path) -> None:
    TARGETS[name].read(TARGETS[name].right, tmp_path)
