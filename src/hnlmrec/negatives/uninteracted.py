"""Exact uniform sampling of the items that a user has not interacted with."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.errors import DataError

# A draw modulo m favours small values by at most m / 2**62: nothing for any catalogue.
_LARGEST_DRAW = 2**62


class Uninteracted:
    """The complement of each user's training items, sampled without rejection.

    A user with sorted training items ``s_0 < s_1 < ...`` has ``s_j - j`` un-interacted items
    before ``s_j``. So the ``r``-th un-interacted item is ``r + #{j : s_j - j <= r}``, and the
    count is one binary search in the sorted keys ``user * n_items + s_j - j``: the cost of a draw
    does not grow with the user's history, and no draw is ever repeated.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]`` with sorted indices.
    device
        Where the negatives are drawn.

    Raises
    ------
    DataError
        If a user has interacted with every item.
    """

    def __init__(self, train: sp.csr_array, device: torch.device | str = "cpu") -> None:
        n_users, self.n_items = train.shape
        n_train = np.diff(train.indptr).astype(np.int64)
        full = np.flatnonzero(n_train >= self.n_items)
        if len(full):
            raise DataError(
                f"{len(full)} of {n_users} users have interacted with all {self.n_items} items in "
                f"training and leave no negative (first: user {full[0]})",
                where="training interactions",
                mend="drop these users, or keep more items (a smaller data.core)",
            )
        users = np.repeat(np.arange(n_users, dtype=np.int64), n_train)
        items = train.indices.astype(np.int64)
        rank = np.arange(len(items)) - np.repeat(train.indptr[:-1].astype(np.int64), n_train)
        self._pairs = torch.from_numpy(users * self.n_items + items).to(device)
        self._keys = torch.from_numpy(users * self.n_items + items - rank).to(device)
        self._starts = torch.from_numpy(train.indptr[:-1].astype(np.int64)).to(device)
        self._n_free = torch.from_numpy(self.n_items - n_train).to(device)

    def sample(self, users: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` un-interacted items of each user, uniformly and with replacement.

        Parameters
        ----------
        users
            Indices, int64 ``[B]``.
        n
            Draws a user.
        generator
            Source of randomness, on the device of the sampler.

        Returns
        -------
        Tensor
            Items, int64 ``[B, n]``.
        """
        shape = (len(users), n)
        draws = torch.randint(
            _LARGEST_DRAW, shape, generator=generator, device=self._keys.device
        ) % self._n_free[users].unsqueeze(1)
        keys = users.unsqueeze(1) * self.n_items + draws
        passed = torch.searchsorted(self._keys, keys, right=True)
        return draws + passed - self._starts[users].unsqueeze(1)

    def contains(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each item is un-interacted for its user, bool of the broadcast shape."""
        pairs = users * self.n_items + items
        found = torch.searchsorted(self._pairs, pairs, right=True)
        return found == torch.searchsorted(self._pairs, pairs)
