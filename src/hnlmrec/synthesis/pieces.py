"""Contrastive batches that one device need not hold: encoded in pieces, by several processes.

The loss of a batch needs all its representations, and its gradient in them no language model. So
the batch is encoded in pieces without a graph, the gradient is found in the representations, and
each piece is encoded again and takes its part of that gradient on to the parameters: the gradient
of the whole batch, whatever the size of a piece (Gao et al., "Scaling Deep Contrastive Learning
Batch Size under Memory Limited Setup", RepL4NLP 2021). Of several processes each does so with its
share of the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hnlmrec.distributed import World
from hnlmrec.language.batching import token_batches
from hnlmrec.synthesis.query import QueryEncoder, Segments, Tokens
from hnlmrec.synthesis.replay import Draws, DropoutOfBatch, RandomState


@dataclass(frozen=True, eq=False)
class _Begun:
    """A batch after its first pass; ``kept`` is its only piece with its graph, if there is one."""

    parts: tuple[Segments, ...]
    random: RandomState
    draws: Draws
    states: Tensor
    kept: Tensor | None


class PieceEncoder:
    """Encodes batches as a `QueryEncoder` does, in pieces and by all processes of a world.

    All processes call it with the same batches in the same order, and draw the same random numbers:
    dropout is that of the whole batch. Each gets the states of all rows.

    Parameters
    ----------
    encoder
        The language model of this process.
    micro_batch
        Rows encoded with a graph at a time; None: all of a process's share, whose graph is then
        kept, so that nothing is encoded twice.
    world
        The processes that encode together.
    """

    def __init__(self, encoder: QueryEncoder, micro_batch: int | None, world: World) -> None:
        self._encoder, self._micro_batch, self._world = encoder, micro_batch, world
        self._begun: list[_Begun] = []

    def __call__(self, *parts: Segments) -> Tensor:
        """The states of a batch of queries, float32 ``[B, width]``.

        Where gradients are enabled they reach these states, and `push` takes them further.
        """
        wanted = torch.is_grad_enabled()
        size, device = len(parts[0]), self._encoder.language.device
        random, draws = RandomState(device), Draws(size, self._own(size))
        after, kept = random, None
        found: list[Tensor] = []
        pieces = list(self._pieces(size))
        for rows, n in pieces:
            random.restore()
            with torch.set_grad_enabled(wanted and len(pieces) == 1):
                piece = self._encode(parts, rows, draws)
            if not found:
                # the first has drawn what the whole batch draws
                after = RandomState(device)
            kept = piece if piece.requires_grad else None
            found.append(piece.detach()[:n])
        after.restore()
        self._encoder.tokens_read += sum(int(self._encoder.count(part).sum()) for part in parts)
        states = self._world.rows(torch.cat(found))
        if wanted:
            states.requires_grad_()
            self._begun.append(_Begun(parts, random, draws, states, kept))
        return states

    def push(self) -> None:
        """Take the gradients in the states since the last time on to the encoder's parameters."""
        now = RandomState(self._encoder.language.device)
        for batch in self._begun:
            gradient = batch.states.grad
            assert gradient is not None
            for rows, n in self._pieces(len(batch.states)):
                own = gradient[rows]
                own[n:] = 0
                piece = batch.kept
                if piece is None:
                    batch.random.restore()
                    piece = self._encode(batch.parts, rows, batch.draws)
                piece.backward(own)
        self._begun.clear()
        now.restore()

    @torch.no_grad()
    def encode(self, *parts: Segments) -> Tensor:
        """Any number of queries in batches of a token budget a process, in evaluation mode."""
        encoder, was_training = self._encoder, self._encoder.training
        encoder.eval()
        lengths = np.sum([encoder.count(part) for part in parts], axis=0)
        states = torch.empty(len(parts[0]), encoder.width)
        for rows in token_batches(lengths, encoder.language.batch_tokens * self._world.size):
            states[torch.from_numpy(rows)] = self(*(part.take(rows) for part in parts)).cpu()
        encoder.train(was_training)
        return states

    def _own(self, size: int) -> slice:
        """The rows of a batch that are this process's; where there are none, one of another's."""
        share = self._world.share(size)
        start = min(share.start, size - 1)
        return slice(start, max(share.stop, start + 1))

    def _pieces(self, size: int) -> Iterator[tuple[Tokens, int]]:
        """Rows of each piece of this process, and how many of them count.

        All processes have equally many pieces, since the weights of one may be with the others. One
        that has no rows left encodes its first, which does not count.
        """
        share = self._world.share(size)
        most = -(-size // self._world.size)
        each = min(self._micro_batch or most, most)
        for start in range(0, most, each):
            rows = np.arange(share.start + start, min(share.start + start + each, share.stop))
            yield (rows, len(rows)) if len(rows) else (np.array([self._own(size).start]), 0)

    def _encode(self, parts: tuple[Segments, ...], rows: Tokens, draws: Draws) -> Tensor:
        encoder = self._encoder
        some = tuple(part.take(rows) for part in parts)
        read = encoder.tokens_read
        if encoder.training:
            length = int(np.sum([encoder.count(part) for part in parts], axis=0).max())
            device = encoder.language.device
            with DropoutOfBatch(draws, torch.from_numpy(rows).to(device)):
                states: Tensor = encoder(*some, length=length)
        else:
            states = encoder(*some)
        # a batch counts once, however often it is read
        encoder.tokens_read = read
        return states
