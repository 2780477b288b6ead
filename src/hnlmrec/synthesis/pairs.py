"""Which training pairs fine-tuning sees, and which choose its checkpoint."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ConfigError

Rows = npt.NDArray[np.int64]


class PairSampler:
    """Draws training pairs for fine-tuning, and keeps some out for choosing the checkpoint.

    Parameters
    ----------
    interactions
        Their training part is used.
    held_out
        Share kept out of every batch.
    seed
        Of the choice of held-out pairs.
    among
        Positions of the pairs that may be drawn or held out; None for all.

    Raises
    ------
    ConfigError
        When there are fewer than two.
    """

    def __init__(
        self, interactions: Interactions, held_out: float, seed: int, among: Rows | None = None
    ) -> None:
        random = np.random.default_rng(seed)
        users, items = interactions.pairs("train")
        self._indptr = interactions.train.indptr
        self._users, self._items = users.astype(np.int64), items.astype(np.int64)
        allowed = np.arange(len(users)) if among is None else among
        if len(allowed) < 2:
            raise ConfigError(
                f"{len(allowed)} training pairs have a target, and fine-tuning needs two and more",
                where="synthesis.supervision.strategy",
                mend="raise synthesis.route_a.pairs, or choose another strategy",
            )
        size = min(max(1, round(held_out * len(allowed))), len(allowed) - 1)
        self.held_out = np.sort(random.choice(allowed, size=size, replace=False))
        self._kept = np.zeros(len(users), dtype=bool)
        self._kept[allowed] = True
        self._kept[self.held_out] = False
        self.training = np.flatnonzero(self._kept)

    def pairs(self, index: Rows) -> tuple[Tensor, Tensor]:
        """Users and items, int64, of pairs by position."""
        return torch.from_numpy(self._users[index]), torch.from_numpy(self._items[index])

    def by_user(self, n_users: int, each: int, random: np.random.Generator) -> Rows:
        """Up to ``each`` training pairs of each of ``n_users`` random users, by position.

        Users are drawn by their pairs, so that all pairs are about equally likely.
        """
        first = random.choice(
            self.training, size=min(4 * n_users, len(self.training)), replace=False
        )
        users = np.array(list(dict.fromkeys(self._users[first].tolist()))[:n_users])
        counts = np.diff(self._indptr)[users]
        drawn = self._indptr[users, None] + (random.random((len(users), each)) * counts[:, None])
        index: Rows = np.unique(drawn.astype(np.int64))
        kept: Rows = index[self._kept[index]]
        return kept

    def any(self, n: int, random: np.random.Generator) -> Rows:
        """``n`` training pairs by position."""
        return random.choice(self.training, size=min(n, len(self.training)), replace=False)
