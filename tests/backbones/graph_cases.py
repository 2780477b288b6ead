"""A small graph, and what all graph backbones are made of, written out slowly in NumPy."""

import math

import numpy as np
import scipy.sparse as sp
import torch

from hnlmrec.negatives.protocol import PairBatch

N_USERS, N_ITEMS, DIM = 6, 9, 4
N_NODES = N_USERS + N_ITEMS


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def small_train():
    """User 5 and item 8 have no interaction."""
    interacted = np.random.default_rng(4).random((N_USERS, N_ITEMS)) < 0.4
    interacted[5], interacted[:, 8] = False, False
    return sp.csr_array(interacted.astype(np.float32))


def some_pairs(train, epoch=1):
    """Training pairs of which some users and some items come twice."""
    users, items = train.nonzero()
    chosen = np.array([0, 1, 4, 7, 4, 9, 10, 2])
    pairs = (torch.from_numpy(part[chosen].astype(np.int64)) for part in (users, items))
    return PairBatch(*pairs, torch.from_numpy(chosen), epoch)


def dense_adjacency(interacted):
    """D^-1/2 A D^-1/2, one interaction at a time."""
    of_user, of_item = interacted.sum(axis=1), interacted.sum(axis=0)
    dense = np.zeros((N_NODES, N_NODES))
    for user, item in zip(*np.nonzero(interacted), strict=True):
        value = 1 / np.sqrt(of_user[user] * of_item[item])
        dense[user, N_USERS + item] = dense[N_USERS + item, user] = value
    return dense


def unit(row):
    norm = math.sqrt(sum(x * x for x in row))
    return row / norm if norm > 0 else row


def slow_info_nce(first, second, nodes, temperature):
    """Mean over nodes of -log softmax, one pair of nodes at a time."""
    total = 0.0
    for node in nodes:
        logits = {other: unit(first[node]) @ unit(second[other]) / temperature for other in nodes}
        total -= logits[node] - math.log(sum(math.exp(x) for x in logits.values()))
    return total / len(nodes)


def slow_contrast(first, second, batch, weight, temperature):
    """Users among users and items among items, each once; views are ``[N_NODES, D]``."""
    users = sorted(set(batch.users.tolist()))
    items = sorted({N_USERS + item for item in batch.positives.tolist()})
    return weight * (
        slow_info_nce(first, second, users, temperature)
        + slow_info_nce(first, second, items, temperature)
    )


def slow_noise(layer, length, generator):
    """Noise on each row of a layer, replayed from the same numbers."""
    drawn = torch.rand(layer.shape, generator=generator).numpy().astype(np.float64)
    noise = np.zeros_like(layer)
    for row in range(len(layer)):
        noise[row] = length * np.sign(layer[row]) * unit(drawn[row])
    return noise


def slow_layers(adjacency, table, n, noise=0.0, generator=None):
    """Layers 1 to n, each with noise when there is a generator."""
    layers, x = [], table
    for _ in range(n):
        x = adjacency @ x
        if generator is not None:
            x = x + slow_noise(x, noise, generator)
        layers.append(x)
    return layers


def whole(view):
    """Users and items of a view as one array."""
    return torch.cat([view.users, view.items]).detach().numpy()


def parameter(tensor):
    return tensor.detach().numpy().astype(np.float64)


def directional_derivative(loss_at, table, direction, step=1e-5):
    """Slope of a slow loss along a direction, by central differences."""
    return (loss_at(table + step * direction) - loss_at(table - step * direction)) / (2 * step)
