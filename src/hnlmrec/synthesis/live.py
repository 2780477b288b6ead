"""Hard negatives computed where they are needed: no store, and no language model in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ArtifactError
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.synthesis.head import FusionHead, fuse
from hnlmrec.synthesis.model import load_head, read_adapter
from hnlmrec.synthesis.states import ITEM_STATES, USER_STATES
from hnlmrec.synthesis.vectors import VectorTable


class LiveNegatives:
    """h(u, i) of any pair by the amortized head, from the states of users and items.

    Memory and disk grow with users and items, not with interactions.

    Parameters
    ----------
    head
        The fine-tuned head.
    states
        States of all users and of all items.
    view
        Embeddings of the pretrained CF model.
    centres
        Mean states of users and of items, ``[2, width]``.
    collaborative
        Whether CF embeddings enter the head.
    interactions
        Whose training pairs are numbered.
    """

    def __init__(
        self,
        head: FusionHead,
        states: tuple[VectorTable, VectorTable],
        view: EmbeddingView,
        centres: Tensor,
        interactions: Interactions,
        *,
        collaborative: bool,
    ) -> None:
        self._head, self._states, self._view = head.eval(), states, view
        self._centres, self._collaborative = centres, collaborative
        self._users, self._items = (torch.from_numpy(part) for part in interactions.pairs("train"))

    @classmethod
    def open(cls, finetuned: Path, view: EmbeddingView, interactions: Interactions) -> Self:
        """Read what `finetune` wrote in amortized mode.

        Raises
        ------
        ArtifactError
            When it is damaged, or was fine-tuned pairwise.
        """
        form, tensors = read_adapter(finetuned)
        if form["mode"] != "amortized":
            raise ArtifactError(
                "negatives can only be computed in training by the amortized head, and the model "
                "was fine-tuned pairwise",
                where=str(finetuned),
                mend="set synthesis.mode to amortized, or sampler.source to synthesised",
            )
        collaborative = form["collaborative"] != "none"
        head = load_head(tensors, view.users.shape[1] if collaborative else 0)
        states = (
            VectorTable.open(finetuned / USER_STATES),
            VectorTable.open(finetuned / ITEM_STATES),
        )
        return cls(
            head, states, view, tensors["centres"], interactions, collaborative=collaborative
        )

    def vectors(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Unit float32 vectors of training pairs, see `HardNegativeSource`; all of them exist."""
        places = index.cpu()
        vectors = self.of_pairs(self._users[places].long(), self._items[places].long())
        return vectors.to(index.device), torch.ones_like(index, dtype=torch.bool)

    @torch.no_grad()
    def of_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Unit vectors, float32 ``[B, width]``, of any users and items, int64 ``[B]``."""
        of_users, of_items = self._states
        states = (of_users.read(users.numpy())[0], of_items.read(items.numpy())[0])
        embeddings = (self._view.users[users], self._view.items[items])
        fused = fuse(
            self._head, states, embeddings, self._centres, collaborative=self._collaborative
        )
        return F.normalize(fused, dim=1)
