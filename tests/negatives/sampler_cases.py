"""A small world for tests of samplers: random histories, layers and a batch."""

from dataclasses import replace

import numpy as np
import scipy.sparse as sp
import torch

from hnlmrec.negatives import EmbeddingView, PairBatch, Uninteracted

N_USERS, N_ITEMS, DIM = 6, 30, 5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_train():
    interacted = np.random.default_rng(1).random((N_USERS, N_ITEMS)) < 0.3
    return sp.csr_array(interacted.astype(np.float32))


def make_pool():
    return Uninteracted(make_train())


def make_counts():
    return np.bincount(make_train().indices, minlength=N_ITEMS)


def table(seed):
    values = torch.randn(N_USERS + N_ITEMS, DIM, generator=seeded(seed), dtype=torch.float32)
    return values.requires_grad_()


def make_view(layers=3):
    """The mean of layers, as LightGCN has it, but a leaf of its own."""
    each = tuple(EmbeddingView.of_table(table(seed), N_USERS) for seed in range(layers))
    mean = torch.stack([layer.table for layer in each]).mean(dim=0).detach().requires_grad_()
    return replace(EmbeddingView.of_table(mean, N_USERS), layers=each)


def make_batch(epoch=1, users=(3, 0, 3, 5, 1, 0)):
    """Pairs of users, who may repeat, each with one of their training items."""
    train = make_train()
    positives = [int(train.indices[train.indptr[u] + k % 2]) for k, u in enumerate(users)]
    index = torch.arange(len(users))
    return PairBatch(torch.tensor(users), torch.tensor(positives), index, epoch)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
