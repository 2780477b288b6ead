"""The best columns of each row."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.kernels import threads
from hnlmrec.kernels.threads import array, on_cpu

# one more is put in its place among those before it, so the time grows with their number
_MOST = 128


def top_columns(scores: Tensor, k: int) -> Tensor:
    """Columns with the ``k`` largest numbers of each row, best first.

    Of equal numbers the lower column comes first. What is minus infinity is left out, and so are
    numbers that are none; -1 takes their place.

    Parameters
    ----------
    scores
        Float ``[B, M]``.
    k
        At most M.

    Returns
    -------
    Tensor
        int64 ``[B, k]``, or int32 in the compiled form.
    """
    if not on_cpu(scores) or k > _MOST:
        return _by_torch(scores, k)
    from hnlmrec.kernels.compiled_selection import top_columns as compiled

    columns = torch.empty((len(scores), k), dtype=torch.int32)
    borders = threads.even(len(scores), threads.threads_for(scores.numel()))
    threads.run(compiled, borders, array(scores), columns.numpy())
    return columns


def _by_torch(scores: Tensor, k: int) -> Tensor:
    """``topk`` picks any of equal numbers, so rows with a tie at the border are sorted in full."""
    scores = scores.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    tied = values[:, k - 1] == values[:, -1]
    values, columns = values[:, :k], columns[:, :k]
    full, order = scores[tied].sort(dim=1, descending=True, stable=True)
    values[tied], columns[tied] = full[:, :k], order[:, :k]
    columns, order = columns.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return columns.gather(1, order).masked_fill(values == -torch.inf, -1)
