"""The adapter from the language model's space to the CF space, and what it is aligned on."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hnlmrec.config import AlignmentConfig
from hnlmrec.losses import info_nce
from hnlmrec.negatives.protocol import EmbeddingView, lookup
from hnlmrec.negatives.uninteracted import Uninteracted

_PIECES = 8


class Adapter(nn.Module):
    """A two-layer perceptron from text vectors to CF embeddings, behind self-attention if wanted.

    The paper's adapter is self-attention and an MLP. Attention over a single vector would be a
    linear map, so here the vector is cut into eight pieces, zeros behind the last, that attend to
    one another: the vector goes on with what they gathered added to it.

    Parameters
    ----------
    width
        Size of a text vector.
    dim
        Size of a CF embedding.
    config
        Width of the hidden layer, and whether there is attention.
    generator
        Source of the initial weights.
    """

    def __init__(
        self, width: int, dim: int, config: AlignmentConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.attention: PieceAttention | None = None
        if config.adapter == "attention":
            self.attention = PieceAttention(width, generator)
        self.inner = nn.Linear(width, config.hidden)
        self.outer = nn.Linear(config.hidden, dim)
        for layer in (self.inner, self.outer):
            _start(layer, generator)
        self.requires_grad_(not config.frozen)

    def forward(self, vectors: Tensor) -> Tensor:
        """Map unit text vectors ``[..., width]`` to ``[..., dim]``."""
        # unit vectors have entries of about 1/sqrt(width); the layers expect about 1
        scaled = vectors * math.sqrt(self.inner.in_features)
        if self.attention is not None:
            scaled = scaled + self.attention(scaled)
        output: Tensor = self.outer(F.gelu(self.inner(scaled)))
        return output


class PieceAttention(nn.Module):
    """Self-attention of one head between the pieces of a vector.

    Parameters
    ----------
    width
        Size of the vector.
    generator
        Source of the initial weights.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.width, self.piece = width, -(-width // _PIECES)
        self.project = nn.Linear(self.piece, 3 * self.piece)
        self.out = nn.Linear(self.piece, self.piece)
        for layer in (self.project, self.out):
            _start(layer, generator)

    def forward(self, vectors: Tensor) -> Tensor:
        """What the pieces of ``[..., width]`` gather from one another, of the same shape."""
        padded = F.pad(vectors, (0, _PIECES * self.piece - self.width))
        pieces = padded.unflatten(-1, (_PIECES, self.piece))
        query, key, value = self.project(pieces).chunk(3, dim=-1)
        gathered = F.scaled_dot_product_attention(query, key, value)
        whole: Tensor = self.out(gathered).flatten(-2)[..., : self.width]
        return whole


@dataclass(frozen=True, eq=False)
class Extra:
    """More texts that a user's item is not.

    Parameters
    ----------
    texts
        Adapted texts of each pair, float ``[B, S, D]``.
    present
        Which of them there are, bool ``[B, S]``.
    weight
        How many texts each counts for.
    shared
        Whether a pair meets those of all pairs, and not its own alone.
    """

    texts: Tensor
    present: Tensor
    weight: float
    shared: bool = False

    def first(self, most: int) -> Extra:
        """Those of the first pairs."""
        return replace(self, texts=self.texts[:most], present=self.present[:most])

    def logits(self, rows: Tensor) -> Tensor:
        """How well users ``[B, D]`` like them, float ``[B, S]``, or ``[B, B S]`` if shared."""
        texts, present = F.normalize(self.texts, dim=2), self.present
        if self.shared:
            found, present = rows @ texts.flatten(0, 1).T, present.flatten()[None]
        else:
            found = torch.einsum("bd,bsd->bs", rows, texts)
        return (found + math.log(self.weight)).masked_fill(~present, -torch.inf)


class TextAlignment:
    """InfoNCE between adapted texts and CF embeddings.

    Items find their own text, users theirs, which is the mean of the text vectors of their
    training items, and users the texts of the items that they interacted with. There the texts of
    other items are negatives, and a synthesised one can be one more.

    Parameters
    ----------
    adapter
        The adapter to train.
    item_vectors
        Unit text vectors of all items, float ``[n_items, width]``.
    config
        Weights, temperature and whether the CF embeddings learn from it too.
    pool
        Knows the users' training items.
    """

    def __init__(
        self, adapter: Adapter, item_vectors: Tensor, config: AlignmentConfig, pool: Uninteracted
    ) -> None:
        self.adapter = adapter
        self.item_vectors = item_vectors
        self.config = config
        self.pool = pool

    def loss(
        self, users: Tensor, positives: Tensor, view: EmbeddingView, extra: Extra | None = None
    ) -> Tensor:
        """The weighted loss over items, users and interactions of a batch, at most so many of each.

        Parameters
        ----------
        users, positives
            Of the batch, int64 ``[B]``.
        view
            What scores.
        extra
            Synthesised negatives of the pairs, as texts.
        """
        config, most = self.config, self.config.max_items
        total = torch.zeros((), device=positives.device)
        if config.weight > 0:
            items = positives.unique()[:most]
            texts = lookup(self.item_vectors, items)
            total = total + config.weight * self._match(texts, lookup(view.items, items))
        if config.user_weight > 0:
            some = users.unique()[:most]
            texts = self.user_vectors(some)
            total = total + config.user_weight * self._match(texts, lookup(view.users, some))
        if config.interaction_weight > 0:
            some = slice(most)
            part = extra and extra.first(most)
            found = self._find(users[some], positives[some], view, part)
            total = total + config.interaction_weight * found
        return total

    def user_vectors(self, users: Tensor) -> Tensor:
        """Unit mean text of the training items of distinct users, float ``[B, width]``."""
        items, starts = self.pool.histories(users)
        return F.normalize(F.embedding_bag(items, self.item_vectors, starts, mode="mean"), dim=1)

    def _find(
        self, users: Tensor, positives: Tensor, view: EmbeddingView, extra: Extra | None
    ) -> Tensor:
        """Softmax of the text of each user's item over those of the batch's others, and extra ones.

        Texts of other training items of the user are left out.
        """
        rows = lookup(view.users, users)
        rows = F.normalize(rows.detach() if self.config.detach_items else rows, dim=1)
        rows = rows / self.config.temperature
        texts = F.normalize(self.adapter(lookup(self.item_vectors, positives)), dim=1)
        logits = rows @ texts.T
        if self.config.interaction_texts == "batch":
            left_out = self.pool.interacted_in(users, positives)
        else:
            left_out = torch.ones_like(logits, dtype=torch.bool)
        logits = logits.masked_fill(left_out.fill_diagonal_(False), -torch.inf)
        if extra is not None:
            logits = torch.cat([logits, extra.logits(rows)], dim=1)
        return F.cross_entropy(logits, torch.arange(len(users), device=users.device))

    def _match(self, texts: Tensor, embeddings: Tensor) -> Tensor:
        if self.config.detach_items:
            embeddings = embeddings.detach()
        return info_nce(self.adapter(texts), embeddings, self.config.temperature)


def _start(layer: nn.Linear, generator: torch.Generator) -> None:
    """Draw initial weights as torch does, from a generator, and no bias."""
    bound = 1 / math.sqrt(layer.in_features)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
