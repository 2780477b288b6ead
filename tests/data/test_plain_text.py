from __future__ import annotations

import polars as pl
import pytest

from hnlmrec.data.readers.texts import plain_text


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("AT&amp;T 210 <b>Corded</b> Phone", "AT&T 210 Corded Phone"),
        ("two\n\tlines  and   spaces ", "two lines and spaces"),
        ("\x1b[31mred\x1b[0m\x00 title\x07", "[31mred [0m title"),
        ("Les Misérables — 東京", "Les Misérables — 東京"),
    ],
)
def test_titles_are_plain_and_cannot_command_a_terminal(written: str, plain: str) -> None:
    frame = pl.DataFrame({"title": [written]}).select(plain_text("title"))
    assert frame["title"].item() == plain
