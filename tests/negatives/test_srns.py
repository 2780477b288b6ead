import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sampler_cases import N_USERS, make_batch, make_pool, make_view, seeded, sigmoid

from hnlmrec.errors import ConfigError
from hnlmrec.negatives import EmbeddingView, PairBatch, Srns, Uninteracted

S1, S2, H, T0, ALPHA, TEMPERATURE = 6, 4, 2, 3, 2.5, 0.7
# users that repeat within a batch and over batches
EPOCHS = [[(3, 0, 3, 5), (1, 0, 2, 2)], [(0, 3, 1), (5, 2, 0, 0)]] * 3


def make(n=2, pool=None, **changes):
    settings = {
        "memory": S1, "extra": S2, "temperature": TEMPERATURE, "variance": ALPHA, "history": H,
        "variance_warmup": T0,
    }  # fmt: skip
    return Srns(pool or make_pool(), n, **settings | changes)


class Literal:
    """One user, item and epoch at a time; the draws are the sampler's."""

    def __init__(self):
        self.memory = {}
        self.scores = {}  # (user, item) -> {epoch: score}, for items in the user's memory
        self.seen = {}

    def sample(self, batch, view, generator, n):
        users, items = view.users.numpy(), view.items.numpy()
        distinct = sorted(set(batch.users.tolist()))
        fresh = [user for user in distinct if user not in self.memory]
        if fresh:
            drawn = make_pool().sample(torch.tensor(fresh), S1, generator)
            self.memory |= dict(zip(fresh, drawn.tolist(), strict=True))
        for user in distinct:
            if self.seen.get(user) != batch.epoch:
                self.seen[user] = batch.epoch
                for item in self.memory[user]:
                    kept = self.scores.setdefault((user, item), {})
                    kept[batch.epoch] = users[user] @ items[item]
        chosen = []
        for user, positive in zip(batch.users.tolist(), batch.positives.tolist(), strict=True):
            s_pos = users[user] @ items[positive]
            worth = {}
            for place, item in enumerate(self.memory[user]):
                epochs = self.scores.get((user, item), {})
                past = [
                    sigmoid(score - s_pos)
                    for epoch, score in epochs.items()
                    if epoch > batch.epoch - H
                ]
                deviation = np.std(past) if past else 0.0
                share = min(1, (batch.epoch - 1) / T0)
                here = sigmoid(users[user] @ items[item] - s_pos)
                worth[place] = here + ALPHA * share * deviation
            places = sorted(worth, key=lambda place, worth=worth: -worth[place])[:n]
            chosen.append([self.memory[user][place] for place in places])
        extra = make_pool().sample(torch.tensor(distinct), S2, generator).tolist()
        noise = torch.empty(len(distinct), S1 + S2).exponential_(generator=generator).numpy()
        for user, joining, waits in zip(distinct, extra, noise, strict=True):
            together = self.memory[user] + joining
            keys = []
            for place, item in enumerate(together):
                key = users[user] @ items[item] / TEMPERATURE - np.log(waits[place])
                keys.append(-np.inf if item in together[:place] else key)
            order = sorted(range(S1 + S2), key=lambda place, keys=keys: -keys[place])
            self.memory[user] = [together[place] for place in order[:S1]]
            for known in [key for key in self.scores if key[0] == user]:
                if known[1] not in self.memory[user]:
                    del self.scores[known]
        return chosen


def views():
    """Embeddings that change from batch to batch."""
    for seed in range(100):
        generator = seeded(seed)
        yield EmbeddingView(
            torch.randn(N_USERS, 5, generator=generator), torch.randn(30, 5, generator=generator)
        )


@pytest.mark.parametrize("n", [1, 3])
def test_choices_are_those_of_a_literal_rendering_over_epochs(n):
    sampler, literal, changing = make(n), Literal(), views()
    ours, theirs = seeded(3), seeded(3)
    for epoch, batches in enumerate(EPOCHS, start=1):
        for users in batches:
            batch, view = make_batch(epoch, users), next(changing)
            chosen = sampler.sample(batch, view, ours).items
            assert chosen.tolist() == literal.sample(batch, view, theirs, n)


def run(sampler, epochs, view=None, start=1):
    generator = seeded(8)
    for epoch in range(start, start + epochs):
        sampler.sample(make_batch(epoch), view or make_view().detach(), generator)


def test_a_memory_holds_uninteracted_items_each_once():
    sampler, pool = make(), make_pool()
    run(sampler, 5)
    seen = make_batch().users.unique()
    memory = sampler.memory[seen].long()
    assert pool.contains(seen.unsqueeze(1), memory).all()
    assert all(len(set(row.tolist())) == S1 for row in memory)
    assert (sampler.memory[4] == -1).all()  # not in any batch
    assert sampler.recorded.tolist() == [5, 5, 0, 5, 0, 5]


def test_a_memory_drifts_to_items_that_score_high():
    view = make_view().detach()
    sampler = make(temperature=0.2)
    run(sampler, 30, view)
    for user in make_batch().users.unique():
        free = make_pool().contains(user, torch.arange(30))
        scores = view.items @ view.users[user]
        assert scores[sampler.memory[user].long()].mean() > scores[free].mean() + scores[free].std()


def test_history_belongs_to_the_item_that_stays():
    view = make_view().detach()
    sampler = make(temperature=0.01)  # the best stay
    run(sampler, 4, view)
    user = 0
    scores = view.items @ view.users[user]
    known = ~sampler.history[user].isnan()
    assert known.any()
    expected = scores[sampler.memory[user].long()].unsqueeze(1).expand(-1, H)
    torch.testing.assert_close(sampler.history[user][known], expected[known])


def one_user(past, positive=0.0):
    """A sampler whose only user remembers items 0, 1, ... with these scores of past epochs."""
    n = len(past)
    pool = Uninteracted(sp.csr_array((1, n + 1), dtype=np.float32))
    sampler = make(1, pool, memory=n, history=3, variance_warmup=1, extra=1)
    sampler.memory[0] = torch.arange(n)
    sampler.history[0] = torch.tensor(past)
    sampler.recorded[0] = 5
    scores = torch.tensor([[0.5]] * n + [[positive]])
    return sampler, EmbeddingView(torch.ones(1, 1), scores)


def chosen_of(sampler, view, epoch=5):
    zero = torch.zeros(1, dtype=torch.int64)
    batch = PairBatch(zero, torch.tensor([len(view.items) - 1]), zero, epoch)
    return int(sampler.sample(batch, view, seeded()).items)


def test_of_equal_scores_the_one_that_varied_is_chosen():
    assert chosen_of(*one_user([[0.5, 0.5, 0.5], [0.4, 0.5, 0.6], [0.1, 0.5, 0.9]])) == 2


def test_a_single_past_score_is_no_variance():
    nan = float("nan")
    assert chosen_of(*one_user([[9.0, nan, nan], [nan, nan, nan], [0.5, 0.6, nan]])) == 2


def test_the_first_epoch_goes_by_the_score_alone():
    sampler, view = one_user([[0.5, 0.5, 0.5], [-5.0, 0.5, 5.0]])
    view.items[0] += 0.1
    sampler.recorded[0] = 1
    assert chosen_of(sampler, view, epoch=1) == 0
    sampler, view = one_user([[0.5, 0.5, 0.5], [-5.0, 0.5, 5.0]])
    view.items[0] += 0.1
    assert chosen_of(sampler, view, epoch=5) == 1


def test_scores_of_an_epoch_are_recorded_once():
    sampler = make()
    batch, first, later = make_batch(4), make_view().detach(), next(views())
    sampler.sample(make_batch(3), first, seeded(1))
    sampler.sample(batch, first, seeded(2))
    history, memory = sampler.history.clone(), sampler.memory.clone()
    sampler.sample(batch, later, seeded(3))
    stayed = 0
    for user in batch.users.unique():
        for place, item in enumerate(sampler.memory[user].tolist()):
            before = (memory[user] == item).nonzero()
            if len(before):
                stayed += 1
                assert torch.equal(
                    sampler.history[user, place].nan_to_num(7),
                    history[user, before[0, 0]].nan_to_num(7),
                )
            else:
                assert sampler.history[user, place].isnan().all()
    assert stayed > 0


def test_pairs_of_a_user_in_one_batch_share_the_memory():
    batch = make_batch(users=(3, 3, 3, 3))
    sampler = make(1)
    view = make_view().detach()
    items = sampler.sample(batch, view, seeded()).items
    # in epoch 1 the score alone decides, whatever the positive
    assert len(set(items.flatten().tolist())) == 1


def test_more_negatives_than_the_memory_holds_are_refused():
    with pytest.raises(ConfigError, match="7 negatives a pair cannot come from a memory of 6"):
        make(7)


def test_state_is_saved_and_nothing_else():
    assert set(make().state_dict()) == {"memory", "history", "recorded"}
    assert not list(make().parameters())
