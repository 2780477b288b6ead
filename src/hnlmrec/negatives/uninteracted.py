"""Exact uniform sampling of the items that a user has not interacted with."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.errors import DataError
from hnlmrec.kernels import draw_free, interacted_in

# A draw modulo m favours small values by at most m / 2**62: nothing for any catalogue.
_LARGEST_DRAW = 2**62


class Uninteracted:
    """The complement of each user's training items, sampled without rejection.

    A user with sorted training items ``s_0 < s_1 < ...`` has ``s_j - j`` un-interacted items
    before ``s_j``. So the ``r``-th un-interacted item is ``r + #{j : s_j - j <= r}``, and the
    count is one binary search in the user's sorted ``s_j - j``: the cost of a draw hardly grows
    with the user's history, and no draw is ever repeated.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]`` with sorted indices.
    device
        Where the negatives are drawn.

    Attributes
    ----------
    indptr, items
        The training items of user u are ``items[indptr[u]:indptr[u + 1]]``, sorted; int64
        ``[n_users + 1]`` and int32 ``[nnz]``.
    free_before
        For each of `items`, the un-interacted items of its user before it: ``s_j - j``.

    Raises
    ------
    DataError
        If a user has interacted with every item.
    """

    def __init__(self, train: sp.csr_array, device: torch.device | str = "cpu") -> None:
        self.n_users, self.n_items = train.shape
        n_train = np.diff(train.indptr).astype(np.int64)
        full = np.flatnonzero(n_train >= self.n_items)
        if len(full):
            raise DataError(
                f"{len(full)} of {self.n_users} users have interacted with all {self.n_items} "
                f"items in training and leave no negative (first: user {full[0]})",
                where="training interactions",
                mend="drop these users, or keep more items (a smaller data.core)",
            )
        self.device = torch.device(device)
        self.indptr = torch.from_numpy(train.indptr.astype(np.int64)).to(device)
        self.items = torch.from_numpy(train.indices.astype(np.int32)).to(device)
        rank = np.arange(train.nnz) - np.repeat(train.indptr[:-1].astype(np.int64), n_train)
        before = (train.indices - rank).astype(np.int32)
        self.free_before = torch.from_numpy(before).to(device)

    def sample(
        self,
        users: Tensor,
        n: int,
        generator: torch.Generator,
        start: int = 0,
        total: int | None = None,
    ) -> Tensor:
        """Draw ``n`` un-interacted items of each user, uniformly and with replacement.

        On a CPU the items depend on the generator through one number that seeds a stream of
        SplitMix64, which compiled threads share out; elsewhere torch draws them.

        Parameters
        ----------
        users
            Indices, int64 ``[B]``.
        n
            Draws a user.
        generator
            Source of randomness, on the device of the sampler.
        start, total
            Where these users begin among so many, of which others are drawn for elsewhere; None:
            they are all. The items are those that one call for all would give them.

        Returns
        -------
        Tensor
            Items, int64 ``[B, n]``.
        """
        if self.device.type == "cpu":
            seed = int(self.seeds(1, generator).item())
            # the stream is numbered, so its later part is a stream that begins later
            return draw_free(
                seed + start * n, users, n, self.indptr, self.free_before, self.n_items
            )
        free = self.n_items - self.indptr.diff()[users].unsqueeze(1)
        shape = (len(users) if total is None else total, n)
        every = torch.randint(_LARGEST_DRAW, shape, generator=generator, device=self.device)
        draws: Tensor = every[start : start + len(users)] % free
        keys = users.unsqueeze(1) * self.n_items + draws
        passed = torch.searchsorted(self._free_keys, keys, right=True)
        return draws + passed - self.indptr[users].unsqueeze(1)

    def seeds(self, n: int, generator: torch.Generator) -> Tensor:
        """The numbers that seed the compiled draws of ``n`` calls of `sample`, int64 ``[n]``."""
        return torch.randint(_LARGEST_DRAW, (n,), generator=generator)

    def contains(self, users: Tensor, items: Tensor) -> Tensor:
        """Whether each item is un-interacted for its user, bool of the broadcast shape."""
        keys = users * self.n_items + items
        found = torch.searchsorted(self._interacted_keys, keys, right=True)
        return found == torch.searchsorted(self._interacted_keys, keys)

    def position(self, users: Tensor, items: Tensor) -> Tensor:
        """Positions of training pairs among all of them, int64 ``[B]``."""
        return torch.searchsorted(self._interacted_keys, users * self.n_items + items)

    def interacted_in(self, users: Tensor, items: Tensor) -> Tensor:
        """Which items of a pool are training items of each user.

        The users' histories are looked up in the pool, so the cost is that of the histories and
        of the result, not of a search for each pair of a user and an item.

        Parameters
        ----------
        users
            Indices, int64 ``[B]``.
        items
            The pool, int64 ``[P]``; items may repeat.

        Returns
        -------
        Tensor
            Bool ``[B, P]``.
        """
        if self.device.type == "cpu":
            return interacted_in(users, items, self.indptr, self.items, self.n_items)
        distinct, rows = users.unique(return_inverse=True)
        # each training item of each user, once
        starts = self.indptr[distinct]
        owner, place = _spread(starts, self.indptr[distinct + 1] - starts)
        history = self.items[place].long()
        ordered, order = items.sort()
        first = torch.searchsorted(ordered, history)
        count = torch.searchsorted(ordered, history, right=True) - first
        # each place in the pool of each of those items
        hit, column = _spread(first, count)
        mask = torch.zeros((len(distinct), len(items)), dtype=torch.bool, device=items.device)
        mask[owner[hit], order[column]] = True
        return mask[rows]

    def histories(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """Training items of users, one user after the other, and where each one's begin.

        Parameters
        ----------
        users
            Indices, int64 ``[B]``.

        Returns
        -------
        tuple[Tensor, Tensor]
            Items, int64, and places in them, int64 ``[B]``.
        """
        first, counts = self.indptr[users], self.indptr[users + 1] - self.indptr[users]
        _, place = _spread(first, counts)
        return self.items[place].long(), counts.cumsum(0) - counts

    @cached_property
    def _interacted_keys(self) -> Tensor:
        """``user * n_items + item`` of the training interactions, sorted."""
        keys: Tensor = self.users * self.n_items + self.items
        return keys

    @cached_property
    def _free_keys(self) -> Tensor:
        keys: Tensor = self.users * self.n_items + self.free_before
        return keys

    @property
    def users(self) -> Tensor:
        """The user of each of `items`, int64 ``[nnz]``."""
        users = torch.arange(self.n_users, device=self.device)
        return torch.repeat_interleave(users, self.indptr.diff())


def _spread(starts: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers ``starts[k] + 0, 1, ..., counts[k] - 1`` of all k, and which k each is of."""
    owner = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    before = counts.cumsum(0) - counts
    return owner, torch.arange(len(owner), device=counts.device) + (starts - before)[owner]
