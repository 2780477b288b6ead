from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.language import token_batches


@given(st.lists(st.integers(0, 90), max_size=60), st.integers(1, 200))
def test_every_text_is_in_one_batch_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = token_batches(lengths, budget)
    assert sorted(np.concatenate([*batches, np.empty(0, int)])) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget


def test_groups_by_length_longest_first() -> None:
    batches = token_batches([3, 10, 4, 9], batch_tokens=20)
    assert [batch.tolist() for batch in batches] == [[1, 3], [2, 0]]


def test_a_text_beyond_the_budget_is_alone() -> None:
    assert [batch.tolist() for batch in token_batches([50, 2, 2], 10)] == [[0], [1, 2]]
