import numpy as np
import pytest
import torch
from sampler_cases import DIM, N_USERS, make_batch, make_pool, make_view, seeded, sigmoid

from hnlmrec.errors import ConfigError
from hnlmrec.negatives import Dens, EmbeddingView

N, M = 3, 7


def make(weight=0.3, n=N, seed=0):
    return Dens(make_pool(), n, DIM, M, gate_warmup=4, weight=weight, generator=seeded(seed))


def linear(gate, x):
    return gate.weight.detach().numpy() @ x + gate.bias.detach().numpy()


def relevant(sampler, e_u, e_pos, e_neg):
    r_pos = e_pos * sigmoid(linear(sampler.item_gate, e_pos) + linear(sampler.user_gate, e_u))
    gate = linear(sampler.negative_gate, e_neg) + linear(sampler.positive_gate, r_pos)
    return r_pos, e_neg * sigmoid(gate)


def literal(sampler, view, batch):
    """One pair, negative, layer and candidate at a time; the draws are the sampler's."""
    drawn = make_pool().sample(batch.users, N * M, seeded()).numpy()
    passed = min(1, (batch.epoch - 1) / 4)
    layers = [(layer.users.detach().numpy(), layer.items.detach().numpy()) for layer in view.layers]
    chosen = np.zeros((len(drawn), N, len(layers)), dtype=int)
    for pair, (user, positive) in enumerate(zip(batch.users, batch.positives, strict=True)):
        for negative in range(N):
            for number, (users, items) in enumerate(layers):
                best, hardest = -np.inf, None
                for item in drawn[pair, negative * M : (negative + 1) * M]:
                    r_neg = relevant(sampler, users[user], items[positive], items[item])[1]
                    score = ((1 - passed) * items[item] - r_neg) @ users[user]
                    if score > best:
                        best, hardest = score, item
                chosen[pair, negative, number] = hardest
    return layers, chosen


def literal_loss(sampler, layers, chosen, batch):
    terms = np.zeros(4)
    for pair, (user, positive) in enumerate(zip(batch.users, batch.positives, strict=True)):
        e_u = np.mean([users[user] for users, _ in layers], axis=0)
        sums = np.ones(4)
        for negative in range(N):
            halves = []
            for number, (users, items) in enumerate(layers):
                e_pos, e_neg = items[positive], items[chosen[pair, negative, number]]
                r_pos, r_neg = relevant(sampler, users[user], e_pos, e_neg)
                halves.append([r_pos, e_pos - r_pos, r_neg, e_neg - r_neg])
            p_r, p_i, n_r, n_i = (e_u @ np.mean(half, axis=0) for half in zip(*halves, strict=True))
            sums[1:] += np.exp([n_r - n_i, n_r - p_r, p_i - n_i])
        sums[0] += np.exp(p_i - p_r)
        terms += np.log(sums)
    return terms.sum() / len(batch.users) / 4


@pytest.mark.parametrize("epoch", [1, 3, 5, 40])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_choice_and_loss_are_those_of_the_released_equations(epoch, n_layers):
    sampler, view, batch = make(), make_view(n_layers), make_batch(epoch)
    negatives = sampler.sample(batch, view, seeded())
    layers, chosen = literal(sampler, view, batch)
    assert negatives.items.tolist() == chosen[:, :, 0].tolist()
    rows = np.mean([items[chosen[:, :, k]] for k, (_, items) in enumerate(layers)], axis=0)
    np.testing.assert_allclose(negatives.embeddings.detach(), rows, rtol=1e-5, atol=1e-6)
    expected = 0.3 * literal_loss(sampler, layers, chosen, batch)
    assert negatives.loss.item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_alone_trains_the_gates():
    sampler, view = make(), make_view()
    negatives = sampler.sample(make_batch(), view, seeded())
    negatives.embeddings.sum().backward(retain_graph=True)
    assert all(parameter.grad is None for parameter in sampler.parameters())
    negatives.loss.backward()
    assert all(parameter.grad.any() for parameter in sampler.parameters())
    assert len(list(sampler.parameters())) == 8


def test_training_the_gates_lowers_the_loss():
    sampler, view, batch = make(weight=1.0), make_view(), make_batch()
    optimizer = torch.optim.Adam(sampler.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        loss = sampler.sample(batch, view, seeded()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_gradients_of_embeddings_reach_the_chosen_items_of_layer_0():
    view, batch = make_view(), make_batch()
    negatives = make(weight=0).sample(batch, view, seeded())
    assert negatives.loss is None
    negatives.embeddings.sum().backward()
    counts = torch.bincount(negatives.items.flatten(), minlength=30) / 3
    torch.testing.assert_close(
        view.layers[0].table.grad[N_USERS:], counts.unsqueeze(1).expand(-1, DIM)
    )


def test_initial_gates_are_of_their_generator():
    one, same, other = make(seed=1), make(seed=1), make(seed=2)
    assert torch.equal(one.item_gate.weight, same.item_gate.weight)
    assert not torch.equal(one.item_gate.weight, other.item_gate.weight)
    assert not torch.equal(one.item_gate.weight, one.user_gate.weight)
    assert one.item_gate.weight.abs().max() <= DIM**-0.5


def test_layers_of_another_width_are_refused():
    view = EmbeddingView(torch.ones(N_USERS, 2), torch.ones(30, 2))
    with pytest.raises(ConfigError, match=r"gates of dens are 5 wide .* layers 2"):
        make().sample(make_batch(), view, seeded())
