"""SimGCL."""

from __future__ import annotations

import torch
from torch import Tensor

from hnlmrec.backbones.contrast import BatchNodes
from hnlmrec.backbones.perturbed import PerturbedGCN, mean_of
from hnlmrec.negatives.protocol import EmbeddingView, PairBatch


class SimGCL(PerturbedGCN):
    """A LightGCN whose embeddings must stay recognisable under noise.

    Yu et al., "Are Graph Augmentations Necessary? Simple Graph Contrastive Learning for
    Recommendation", SIGIR 2022. Two views, each with noise on every layer, of which the next
    layer is made, are compared by InfoNCE for the distinct users and positives of a batch; what
    scores has no noise. All three leave out layer 0, as in the paper and in the authors' code
    (Coder-Yu/SELFRec), whose settings are weight 0.5, temperature 0.2 and noise 0.1.

    Noise is a constant of the gradient and the convolution is linear, so a view is the embeddings
    without noise plus a constant: the three of them share one pass forward and one backward.

    Cost per batch: 4 L - 2 products of the graph with a table, and 2 L tables of random numbers.
    """

    def auxiliary(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Tensor | None:
        """Compare two noisy views of the batch's nodes; see `Backbone.auxiliary`."""
        if self.contrast.weight == 0:
            return None
        nodes = BatchNodes.of(batch, self.n_users)
        layers = [layer.table for layer in view.layers if layer.table is not None]
        clean = mean_of([layer.index_select(0, nodes.rows) for layer in layers])
        first, second = (
            clean + self._deviation(layers, generator).index_select(0, nodes.rows) for _ in range(2)
        )
        return self.contrast.loss(nodes, first, second)

    @torch.no_grad()
    def _deviation(self, layers: list[Tensor], generator: torch.Generator) -> Tensor:
        """How far noise on each layer moves their mean, float ``[n_users + n_items, dim]``."""
        deviations = [self.noise_on(layers[0], generator)]
        for layer in layers[1:]:
            passed_on = self.adjacency.product(deviations[-1])
            deviations.append(passed_on + self.noise_on(layer + passed_on, generator))
        return mean_of(deviations)
