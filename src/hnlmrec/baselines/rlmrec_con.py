"""RLMRec-Con."""

from __future__ import annotations

from torch import Tensor

from hnlmrec.baselines.protocol import Baseline, BaselineSetting
from hnlmrec.config.baselines import RlmrecConConfig
from hnlmrec.losses import info_nce
from hnlmrec.negatives.protocol import EmbeddingView, PairBatch, lookup
from hnlmrec.perceptron import Perceptron


class RlmrecCon(Baseline):
    """Contrastive alignment of embeddings with the text vectors of profiles.

    Ren et al., "Representation Learning with Large Language Models for Recommendation",
    WWW 2024, the contrastive form: with ``s`` the text vector of a profile, ``e`` the embedding
    that scores and ``f`` a perceptron from text to embedding, users and items each add
    ``mean_i -log( exp(cos(e_i, f(s_i)) / t) / sum_j exp(cos(e_i, f(s_j)) / t) )``.

    The sum is over the distinct users, or positives, of the batch. Left out: the profiles are
    those of this run and not written by the authors' prompts, and sampled negatives are not
    aligned. Cost per batch: one pass of ``f`` and two InfoNCE of at most ``max_nodes`` rows.
    """

    def __init__(self, config: RlmrecConConfig, setting: BaselineSetting) -> None:
        super().__init__()
        self.config, self.texts = config, setting.texts
        self.map = Perceptron(
            self.texts.items.shape[1], setting.width, config.hidden, setting.generator
        )

    def loss(self, batch: PairBatch, view: EmbeddingView) -> Tensor:
        """The weighted sum over users and items; see `Baseline.loss`."""
        most, total = self.config.max_nodes, view.users.new_zeros(())
        for nodes, embeddings, texts in (
            (batch.users, view.users, self.texts.users),
            (batch.positives, view.items, self.texts.items),
        ):
            some = nodes.unique()[:most]
            mapped = self.map(lookup(texts, some))
            total = total + info_nce(lookup(embeddings, some), mapped, self.config.temperature)
        return self.config.weight * total
