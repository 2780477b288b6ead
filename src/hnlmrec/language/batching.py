"""Batches of texts of similar length, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def token_batches(
    lengths: Sequence[int] | npt.NDArray[np.int64], batch_tokens: int
) -> list[npt.NDArray[np.int64]]:
    """Group texts so that a padded batch holds at most ``batch_tokens`` tokens.

    Parameters
    ----------
    lengths
        Tokens of each text, ``[n]``.
    batch_tokens
        The budget: texts in a batch times the longest of them. A text that is longer than the
        budget makes a batch of its own.

    Returns
    -------
    Arrays of positions, int64, longest texts first (so that a lack of memory shows at once); each
    position is in exactly one of them.
    """
    sizes = np.maximum(np.asarray(lengths, dtype=np.int64), 1)
    order = np.argsort(-sizes, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        end = start + max(1, batch_tokens // int(sizes[order[start]]))
        batches.append(order[start:end])
        start = end
    return batches
