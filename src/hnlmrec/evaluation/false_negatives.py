"""False hard negatives: how many negatives are items that the user likes after all.

Diagnostics only. They look at held-out labels and are computed after training; nothing that
trains or chooses a model may use them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from torch import Tensor
from torch.nn import functional

from hnlmrec.evaluation.membership import contains
from hnlmrec.evaluation.ranking import top_items


@dataclass(frozen=True)
class FhnsRate:
    """Share of false hard negatives against that of a uniform sampler.

    Parameters
    ----------
    false, total
        Negatives that are held-out positives of their user, and all negatives.
    expected
        The share that a uniform sampler over un-interacted items has, exactly.
    """

    false: int
    total: int
    expected: float

    @property
    def share(self) -> float:
        """The share of false negatives."""
        return self.false / self.total

    @property
    def ratio(self) -> float:
        """``share`` over ``expected``; 1 is chance, NaN where chance finds none."""
        return self.share / self.expected if self.expected else float("nan")


def fhns_rate(
    negative_items: npt.NDArray[np.integer],
    users: npt.NDArray[np.integer],
    held_out: sp.csr_array,
    train: sp.csr_array,
) -> FhnsRate:
    """Measure the rate of false hard negatives (HNLMRec, arXiv 2504.04726; our estimator).

    Parameters
    ----------
    negative_items
        Un-interacted items, int ``[n_pairs, N]``; -1 is no negative and is not counted.
    users
        The user of each pair, ``[n_pairs]``.
    held_out
        CSR ``[n_users, n_items]`` of validation and test positives, disjoint from ``train``.
    train
        CSR ``[n_users, n_items]``.
    """
    counted = negative_items >= 0
    false = contains(held_out, users[:, None], negative_items)
    n_free = train.shape[1] - np.diff(train.indptr)[users]
    chance = np.diff(held_out.indptr)[users] / n_free
    return FhnsRate(
        false=int(false.sum()),
        total=int(counted.sum()),
        expected=float(np.average(chance, weights=counted.sum(axis=1))),
    )


def nearest_uninteracted(
    embeddings: Tensor,
    users: npt.NDArray[np.integer],
    item_embeddings: Tensor,
    train: sp.csr_array,
    k: int = 1,
    chunk: int = 1024,
) -> npt.NDArray[np.int64]:
    """Find the catalogue items that a synthesised negative stands for.

    Parameters
    ----------
    embeddings
        Synthesised negatives in CF space, float ``[B, D]``.
    users
        The user of each, ``[B]``; their training items are left out.
    item_embeddings
        Float ``[n_items, D]``.
    train
        CSR ``[n_users, n_items]``.
    k
        Items for each negative.
    chunk
        Negatives compared together; memory is ``chunk * n_items`` similarities.

    Returns
    -------
    ndarray
        Items by cosine similarity, nearest first, int64 ``[B, k]``; -1 where there are fewer.
    """
    unit_items = functional.normalize(item_embeddings, dim=1)
    return top_items(embeddings, unit_items, users, [train], k, chunk).astype(np.int64)
