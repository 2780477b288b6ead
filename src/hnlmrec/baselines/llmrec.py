"""LLMRec."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from hnlmrec.baselines.protocol import Baseline, BaselineSetting
from hnlmrec.config.baselines import LlmrecConfig
from hnlmrec.kernels import pair_scores
from hnlmrec.negatives.protocol import EmbeddingView, PairBatch


class Llmrec(Baseline):
    """More BPR pairs: what the language model picks for a user as best and as worst.

    Wei et al., "LLMRec: Large Language Models with Graph Augmentation for Recommendation",
    WSDM 2024, implicit feedback augmentation with noise pruning: for each user of the batch with
    picks, ``-log sigmoid(s(u, favourite) - s(u, least))``; the largest share ``prune`` of these is
    left out, and the mean of the others is added with a weight.

    Both picks are among the candidates that a CF model scores best for the user, see
    `hnlmrec.baselines.picking`; held-out labels are not read. Left out: side information that the
    language model writes as node features and the restoration of masked features, since no model
    of the comparison has node features, and profiles reach the others as text vectors; the picks
    are pairs of the loss and no edges of the graph, as in the paper's training objective.
    Cost per batch: the scores of two items a user.
    """

    def __init__(self, config: LlmrecConfig, setting: BaselineSetting) -> None:
        super().__init__()
        assert setting.picks is not None
        self.config, self.picks = config, setting.picks

    def loss(self, batch: PairBatch, view: EmbeddingView) -> Tensor | None:
        """The weighted mean over kept pairs; None without any; see `Baseline.loss`."""
        users = batch.users.unique()
        users = users[self.picks.favourite[users] >= 0]
        if len(users) == 0:
            return None
        best, worst = (
            pair_scores(view.users, view.items, users, picked[users, None])[:, 0]
            for picked in (self.picks.favourite, self.picks.least)
        )
        losses = F.softplus(worst - best)
        kept = math.ceil((1 - self.config.prune) * len(losses))
        return self.config.weight * losses.topk(kept, largest=False).values.mean()
