"""Supervision: which item is the hard negative of a training pair (u, i).

The default, ``cf_semantic``: of the un-interacted items that a pretrained CF model scores highest
for u, leaving out by a relative margin those it scores like u's own positives (likely false
negatives), one drawn by its similarity in meaning to i. Only training interactions are read.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.config import SupervisionConfig
from hnlmrec.kernels import pair_scores
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.negatives.uninteracted import Uninteracted
from hnlmrec.synthesis.named import Named

_CHUNK = 512
NONE = -1


class Supervision:
    """Draws the target item of training pairs.

    Parameters
    ----------
    config
        Strategy, number of candidates, margin and temperature.
    view
        Embeddings of a CF model that saw training interactions alone.
    item_vectors
        Unit text vectors, float32 ``[n_items, width]``.
    train
        Training interactions, CSR ``[n_users, n_items]``.
    named
        What the language model named, for ``route_a``.
    """

    def __init__(
        self,
        config: SupervisionConfig,
        view: EmbeddingView,
        item_vectors: Tensor,
        train: sp.csr_array,
        named: Named | None = None,
    ) -> None:
        self.config = config
        self._named, self._view = named, view
        self._by_meaning = config.strategy in ("semantic", "semantic_distinct")
        self._vectors = item_vectors
        self._pool = Uninteracted(train, "cpu")
        self.candidates: Tensor | None = None
        if config.strategy in ("cf", "cf_semantic"):
            self.candidates = hardest_items(view, train, config.top_k, config.margin)
        elif self._by_meaning:
            self.candidates = nearest_items(item_vectors, config.top_k)

    def targets(self, users: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the hard negative of each pair.

        Parameters
        ----------
        users, items
            Training pairs, int64 ``[B]``.

        Returns
        -------
        Tensor
            Items that the users did not interact with in training, int64 ``[B]``. A user whose
            candidates are all ruled out gets a random one, as does a pair without a name.
        """
        fallback = self._pool.sample(users, 1, generator)[:, 0]
        if self.config.strategy == "route_a":
            assert self._named is not None
            named = self._named.find(self._pool.position(users, items), self._named.items)
            return torch.where(named == NONE, fallback, named)
        if self.candidates is None:
            return fallback
        rows = items if self._by_meaning else users
        candidates = self.candidates.index_select(0, rows)  # [B, K]
        allowed = candidates != NONE
        known = candidates.clamp(min=0)
        if self._by_meaning:
            allowed &= self._pool.contains(users[:, None], known)
        if self.config.strategy == "semantic_distinct":
            allowed &= self._scored_low(users, known, allowed)
        logits = torch.zeros(candidates.shape)
        if self.config.strategy != "cf":
            near = self._vectors[known] @ self._vectors[items].unsqueeze(2)
            logits = near.squeeze(2) / self.config.temperature
        weights = torch.softmax(logits.masked_fill(~allowed, -torch.inf), dim=1).nan_to_num()
        weights[~allowed.any(dim=1)] = 1.0  # any draw will do: the fallback replaces it
        drawn = torch.multinomial(weights, 1, generator=generator)
        return torch.where(allowed.any(dim=1), known.gather(1, drawn)[:, 0], fallback)

    def _scored_low(self, users: Tensor, candidates: Tensor, allowed: Tensor) -> Tensor:
        """Which candidates ``[B, K]`` the CF model scores at most like the allowed ones' median."""
        view = self._view
        scores = pair_scores(view.users.cpu(), view.items.cpu(), users, candidates)
        middle = scores.masked_fill(~allowed, torch.nan).nanmedian(dim=1, keepdim=True).values
        return scores <= middle


def hardest_items(view: EmbeddingView, train: sp.csr_array, k: int, margin: float) -> Tensor:
    """The un-interacted items of each user with the highest scores below the margin.

    An item is left out as a likely false negative when its score exceeds
    ``m - margin * |m|``, where ``m`` is the user's mean score over the training positives.

    Returns
    -------
    Tensor
        int64 ``[n_users, k]``; -1 where there are fewer than ``k``.
    """
    n_users, n_items = train.shape
    k = min(k, n_items)
    found = torch.empty(n_users, k, dtype=torch.int64)
    for start in range(0, n_users, _CHUNK):
        rows = train[start : start + _CHUNK]
        row = torch.from_numpy(np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)))
        column = torch.from_numpy(rows.indices.astype(np.int64))
        scores = view.users[start : start + _CHUNK].cpu() @ view.items.cpu().T
        count = torch.from_numpy(np.diff(rows.indptr)).clamp(min=1)
        sums = torch.zeros(len(scores)).index_add_(0, row, scores[row, column])
        mean = (sums / count).unsqueeze(1)
        scores[row, column] = -torch.inf
        scores.masked_fill_(scores > mean - margin * mean.abs(), -torch.inf)
        best, items = scores.topk(k, dim=1)
        found[start : start + _CHUNK] = items.masked_fill(best == -torch.inf, NONE)
    return found


def nearest_items(item_vectors: Tensor, k: int) -> Tensor:
    """The other items nearest to each item by cosine, int64 ``[n_items, k]``."""
    unit = F.normalize(item_vectors, dim=1)
    k = min(k, len(unit) - 1)
    found = torch.empty(len(unit), k, dtype=torch.int64)
    for start in range(0, len(unit), _CHUNK):
        near = unit[start : start + _CHUNK] @ unit.T
        near[torch.arange(len(near)), torch.arange(start, start + len(near))] = -torch.inf
        found[start : start + _CHUNK] = near.topk(k, dim=1).indices
    return found
