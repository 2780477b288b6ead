"""SRNS."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hnlmrec.errors import ConfigError
from hnlmrec.negatives.protocol import EmbeddingView, Negatives, PairBatch
from hnlmrec.negatives.scoring import candidate_scores
from hnlmrec.negatives.uninteracted import Uninteracted


class Srns(nn.Module):
    """Negatives of high score and high variance of the score, out of a memory of each user.

    False negatives score high throughout training, true ones that are hard do not. Each user has
    a memory ``M_u`` of S1 items. With ``P_k = s(s_uk - s_ui)``, ``s`` the logistic function::

        j = argmax_{k in M_u} P_k + alpha min(1, (t - 1) / T0) std(P_k over past epochs)

    Then S2 uniform items join ``M_u``, and S1 of them all stay, drawn without replacement with
    probabilities ``softmax(s_uk / temperature)``.

    Ding et al., "Simplify and Robustify Negative Sampling for Implicit Collaborative Filtering",
    NeurIPS 2020. Defaults are those of the released program (S1 = S2 = 20, temperature and alpha
    1, five epochs), T0 = 50 that of its run on MovieLens-1M, which also has S1 = 8, S2 = 64,
    temperature 10 and alpha 5. What differs, so that the state is O(n_users S1 history):

    - The scores of past epochs are kept for the items of the memory only, from the user's first
      batch of each epoch; an item that just joined has a deviation of 0 until it has seen two
      epochs. The released code watches 3,000 candidates a user for five epochs before any of them
      may enter.
    - The deviation is that of past scores against the positive's score of now; positives' past
      scores are not kept.
    - Several negatives of a pair are the best items of the memory; the paper has one.
    - A user's pairs of one batch choose from the same memory, which is renewed once after them.
      An item is in a memory once, as long as there are enough un-interacted ones.

    Cost per batch: for each distinct user S2 draws and S1 + S2 inner products, and B S1 history
    deviations.

    Parameters
    ----------
    pool
        The un-interacted items.
    n
        Negatives a pair, at most ``memory``.
    memory
        S1.
    extra
        S2.
    temperature
        Of the softmax that fills the memory.
    variance
        alpha.
    history
        Epochs over which scores deviate.
    variance_warmup
        T0.

    Raises
    ------
    ConfigError
        If there are more negatives than the memory holds.
    """

    memory: Tensor  # items, int32 [n_users, S1]; -1 before the first batch
    history: Tensor  # their scores in past epochs, float32 [n_users, S1, history]; NaN for none
    recorded: Tensor  # epoch of the last of these scores, int32 [n_users]

    def __init__(
        self,
        pool: Uninteracted,
        n: int,
        memory: int,
        extra: int,
        temperature: float,
        variance: float,
        history: int,
        variance_warmup: int,
    ) -> None:
        super().__init__()
        if n > memory:
            raise ConfigError(
                f"{n} negatives a pair cannot come from a memory of {memory} items",
                where="sampler.memory",
                mend=f"raise it to at least {n}, or lower training.negatives",
            )
        self.pool, self.n, self.extra = pool, n, extra
        self.temperature, self.variance, self.variance_warmup = (
            temperature, variance, variance_warmup
        )  # fmt: skip
        shape, device = (pool.n_users, memory), pool.device
        self.register_buffer("memory", torch.full(shape, -1, dtype=torch.int32, device=device))
        self.register_buffer("history", torch.full((*shape, history), torch.nan, device=device))
        self.register_buffer(
            "recorded", torch.zeros(pool.n_users, dtype=torch.int32, device=device)
        )

    @torch.no_grad()
    def sample(
        self, batch: PairBatch, view: EmbeddingView, generator: torch.Generator
    ) -> Negatives:
        """Choose ``n`` negatives of each pair, and renew the memory of the batch's users."""
        users, rows = batch.users.unique(return_inverse=True)
        items = self._remembered(users, generator)
        scores = candidate_scores(users, items, view)
        history = self._recorded(users, scores, batch.epoch)
        positive = candidate_scores(batch.users, batch.positives.unsqueeze(1), view)
        worth = torch.sigmoid(scores[rows] - positive)
        passed = min(1.0, (batch.epoch - 1) / self.variance_warmup)
        if passed > 0:
            past = torch.sigmoid(history[rows] - positive.unsqueeze(2))
            worth += self.variance * passed * _deviation(past)
        chosen = worth.topk(self.n, dim=1).indices
        self._renew(users, items, scores, history, view, generator)
        return Negatives(items[rows].gather(1, chosen))

    def _remembered(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """The memories of users, int64 ``[U, S1]``, drawn uniformly where there are none yet."""
        items = self.memory[users].long()
        fresh = items[:, 0] < 0
        if fresh.any():
            items[fresh] = self.pool.sample(users[fresh], items.shape[1], generator)
        return items

    def _recorded(self, users: Tensor, scores: Tensor, epoch: int) -> Tensor:
        """The history of users' memories, with today's scores if they are an epoch's first."""
        history, slot = self.history[users], epoch % self.history.shape[2]
        first = (self.recorded[users] != epoch).unsqueeze(1)
        history[:, :, slot] = torch.where(first, scores.to(history.dtype), history[:, :, slot])
        self.recorded[users] = epoch
        return history

    def _renew(
        self,
        users: Tensor,
        items: Tensor,
        scores: Tensor,
        history: Tensor,
        view: EmbeddingView,
        generator: torch.Generator,
    ) -> None:
        """Draw new memories out of the old ones and of uniform items."""
        extra = self.pool.sample(users, self.extra, generator)
        unknown = history.new_full((*extra.shape, history.shape[2]), torch.nan)
        history = torch.cat([history, unknown], dim=1)
        scores = torch.cat([scores, candidate_scores(users, extra, view)], dim=1)
        items = torch.cat([items, extra], dim=1)
        # with Gumbel noise, the largest are a draw without replacement
        noise = -torch.empty_like(scores).exponential_(generator=generator).log()
        keys = (scores / self.temperature + noise).masked_fill(_repeats(items), -torch.inf)
        kept = keys.topk(self.memory.shape[1], dim=1).indices
        self.memory[users] = items.gather(1, kept).int()
        kept_history = kept.unsqueeze(2).expand(-1, -1, history.shape[2])
        self.history[users] = history.gather(1, kept_history)


def _deviation(values: Tensor) -> Tensor:
    """Population standard deviation of the last dimension without its NaN; 0 for fewer than 2."""
    known = ~values.isnan()
    count = known.sum(dim=-1, keepdim=True).clamp_min(1)
    mean = values.nansum(dim=-1, keepdim=True) / count
    squares = (values - mean).square().nansum(dim=-1, keepdim=True) / count
    return squares.sqrt().squeeze(-1)


def _repeats(items: Tensor) -> Tensor:
    """Which items of a row are in it before, bool of the same shape."""
    ordered, order = items.sort(dim=1, stable=True)
    repeats = torch.zeros_like(items, dtype=torch.bool)
    return repeats.scatter(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])
