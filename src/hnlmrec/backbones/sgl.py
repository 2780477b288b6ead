"""SGL with edge dropout (SGL-ED)."""

from __future__ import annotations

import scipy.sparse as sp
import torch
from torch import Tensor

from hnlmrec.backbones.contrast import BatchNodes, Contrast
from hnlmrec.backbones.lightgcn import LightGCN
from hnlmrec.kernels import Adjacency
from hnlmrec.negatives.protocol import EmbeddingView, PairBatch


class SGL(LightGCN):
    """LightGCN whose embeddings must agree on two graphs that lack some interactions.

    Wu et al., "Self-supervised Graph Learning for Recommendation", SIGIR 2021: its edge dropout,
    and its InfoNCE of users plus that of items. What scores is LightGCN on the whole graph. Each
    epoch has two graphs of its own, as in the paper and the authors' code (wujcan/SGL-Torch); an
    interaction is left out in both directions, and a graph is normalised by its own degrees, as
    in the code. They are drawn when the first batch of an epoch, or another generator, arrives.

    Two differences: an interaction is left out with probability ``dropout`` (the paper's masks;
    the code takes out an exact share), and a node is told from the distinct nodes of its batch,
    as in most later work, where the code tells it from all users or all items.

    Cost per batch: 6 L products of the graph with a table, 2 L of them LightGCN's.

    Parameters
    ----------
    train
        Training interactions, CSR ``[n_users, n_items]``: the graph.
    dim
        Size of an embedding.
    layers
        Propagation layers (L).
    dropout
        Probability that a graph lacks an interaction; the code's is 0.1.
    contrast
        The contrastive loss; the code's weight is 0.1 and its temperature 0.2.
    generator
        Source of the initial values, on the CPU.
    device
        Where the table and the graph live.
    """

    def __init__(
        self,
        train: sp.csr_array,
        dim: int,
        layers: int,
        dropout: float,
        contrast: Contrast,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(train, dim, layers, generator, device)
        self.contrast = contrast
        self.edges = EdgeDropout(self.adjacency, dropout)
        self._graphs: tuple[Adjacency, ...] = ()
        self._drawn: tuple[int, torch.Generator] | None = None

    def auxiliary(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Tensor | None:
        """Compare the two graphs' embeddings of the batch's nodes; see `Backbone.auxiliary`."""
        if self.contrast.weight == 0:
            return None
        nodes = BatchNodes.of(batch, self.n_users)
        first, second = (
            graph.mean_of_layers(self.table, self.layers).index_select(0, nodes.rows)
            for graph in self._graphs_of(batch.epoch, generator)
        )
        return self.contrast.loss(nodes, first, second)

    def _graphs_of(self, epoch: int, generator: torch.Generator) -> tuple[Adjacency, ...]:
        # the generator is part of the key, so that no graph outlives the random numbers of its
        # epoch: a resumed run draws what one without an interruption draws
        if self._drawn != (epoch, generator):
            self._graphs = tuple(self.edges.draw(generator) for _ in range(2))
            self._drawn = (epoch, generator)
        return self._graphs


class EdgeDropout:
    """Graphs that lack some interactions of one graph, with the structure of that graph.

    Parameters
    ----------
    adjacency
        The graph of users and items, as `normalised_adjacency` builds it.
    share
        Probability of each interaction to be left out.
    """

    def __init__(self, adjacency: Adjacency, share: float) -> None:
        self.adjacency, self.share = adjacency, share
        # Users are the first rows, so the first half of the entries are the interactions by
        # user, then item, and the second half the same by item, then user.
        by_user = adjacency.indices[: len(adjacency.indices) // 2]
        self._by_item = torch.argsort(by_user, stable=True)

    def draw(self, generator: torch.Generator) -> Adjacency:
        """Draw a graph, ``D^-1/2 A D^-1/2`` with its own degrees.

        Parameters
        ----------
        generator
            On the device of the graph; one uniform number an interaction, by user, then item,
            and those below ``share`` are left out.
        """
        graph = self.adjacency
        uniform = torch.rand(len(self._by_item), generator=generator, device=self._by_item.device)
        kept = uniform >= self.share
        kept = torch.cat([kept, kept[self._by_item]])
        kept_before = torch.nn.functional.pad(kept.cumsum(0), (1, 0))
        degrees = kept_before[graph.indptr.long()].diff()
        # at least 1: the entries of a node that has lost all its edges are 0 anyway
        scale = degrees.clamp(min=1).float() ** -0.5
        of_row = torch.repeat_interleave(scale, graph.degrees, output_size=len(kept))
        return graph.with_values(of_row * scale[graph.indices.long()] * kept)
