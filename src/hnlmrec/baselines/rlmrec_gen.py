"""RLMRec-Gen."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hnlmrec.baselines.protocol import Baseline, BaselineSetting
from hnlmrec.config.baselines import RlmrecGenConfig
from hnlmrec.losses import info_nce
from hnlmrec.negatives.protocol import EmbeddingView, PairBatch, lookup
from hnlmrec.perceptron import Perceptron


class RlmrecGen(Baseline):
    """Generative alignment: what is known of a masked node must tell the text of its profile.

    Ren et al., "Representation Learning with Large Language Models for Recommendation",
    WWW 2024, the generative form: a step replaces the layer-0 rows of a random share of users
    and items by a learned vector, the backbone propagates that table, and with ``s`` the text
    vector of a masked node, ``e`` its embedding and ``g`` a perceptron from embedding to text,
    users and items each add
    ``mean_i -log( exp(cos(g(e_i), s_i) / t) / sum_j exp(cos(g(e_i), s_j) / t) )``.

    The ranking loss sees the masked table too; evaluation does not mask. The sum is over masked
    users, or items. With a backbone that does not propagate, all masked nodes are alike, and
    nothing can be told of them. Cost per batch: a copy of the table, one pass of ``g`` and two
    InfoNCE of at most ``max_nodes`` rows.
    """

    changes_layer0 = True

    def __init__(self, config: RlmrecGenConfig, setting: BaselineSetting) -> None:
        super().__init__()
        self.config, self.texts = config, setting.texts
        self.n_users, n_nodes = setting.n_users, setting.n_users + setting.n_items
        self.n_masked = max(1, round(config.share * n_nodes))
        self.mask = nn.Parameter(torch.zeros(setting.dim))
        self.map = Perceptron(
            setting.width, self.texts.items.shape[1], config.hidden, setting.generator, unit=False
        )
        self.masked: Tensor | None = None

    def layer0(self, table: Tensor, generator: torch.Generator | None) -> Tensor:
        """Put the mask in the place of random rows; see `Baseline.layer0`."""
        if generator is None:
            return table
        order = torch.randperm(len(table), generator=generator, device=table.device)
        self.masked = order[: self.n_masked]
        hidden = torch.zeros(len(table), 1, dtype=torch.bool, device=table.device)
        hidden[self.masked] = True
        return torch.where(hidden, self.mask, table)

    def loss(self, batch: PairBatch, view: EmbeddingView) -> Tensor:
        """The weighted sum over masked users and items; see `Baseline.loss`."""
        assert self.masked is not None
        total, most = view.users.new_zeros(()), self.config.max_nodes
        is_user = self.masked < self.n_users
        for nodes, embeddings, texts in (
            (self.masked[is_user], view.users, self.texts.users),
            (self.masked[~is_user] - self.n_users, view.items, self.texts.items),
        ):
            some = nodes[:most]
            if len(some):
                told = self.map(lookup(embeddings, some))
                total = total + info_nce(told, lookup(texts, some), self.config.temperature)
        return self.config.weight * total
