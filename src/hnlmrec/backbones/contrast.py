"""The contrastive loss between two views of the nodes of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hnlmrec.losses.contrast import info_nce
from hnlmrec.negatives.protocol import PairBatch


@dataclass(frozen=True, eq=False)
class BatchNodes:
    """The distinct users and the distinct positives of a batch.

    Parameters
    ----------
    rows
        Their rows of a table of all nodes, users first, int64 ``[n_users + n_positives]``.
    n_users
        How many of them are users.
    """

    rows: Tensor
    n_users: int

    @classmethod
    def of(cls, batch: PairBatch, first_item: int) -> BatchNodes:
        """Collect them; items begin at row ``first_item`` of the table."""
        users, items = torch.unique(batch.users), torch.unique(batch.positives)
        return cls(torch.cat([users, items + first_item]), len(users))


@dataclass(frozen=True)
class Contrast:
    """Find each node of a batch again in another view of the batch.

    InfoNCE over cosines, of users among users and of items among items, each a mean over the
    distinct nodes of the batch; the two are added. Cost: the square of the distinct nodes.

    Parameters
    ----------
    weight
        Factor of the loss; 0: there is none.
    temperature
        Divides the cosines, above 0.
    """

    weight: float
    temperature: float

    def loss(self, nodes: BatchNodes, first: Tensor, second: Tensor) -> Tensor:
        """Return the weighted loss, a scalar.

        Parameters
        ----------
        nodes
            What the rows of the views are.
        first, second
            The two views, float ``[len(nodes.rows), D]``; each row of the first is looked for
            among the rows of the second.
        """
        n = nodes.n_users
        users = info_nce(first[:n], second[:n], self.temperature)
        items = info_nce(first[n:], second[n:], self.temperature)
        return self.weight * (users + items)
