"""Scores for the tests of ranking losses."""

import torch

SMALL = ((1, 1), (4, 1), (3, 7))


def cosines(seed, n_pairs, n_negatives, dtype=torch.float64):
    """Scores of positives and of negatives, as cosines are: within [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n_pairs, 1 + n_negatives)
    scores = 2 * torch.rand(shape, generator=generator, dtype=dtype) - 1
    return scores[:, 0], scores[:, 1:]


def some_weights(seed, n_pairs, n_negatives, dtype=torch.float64):
    """Weights of which about a third are 0, and at least one of each pair is not."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n_pairs, n_negatives)
    weights = 0.1 + 2 * torch.rand(shape, generator=generator, dtype=dtype)
    weights[torch.rand(shape, generator=generator) < 1 / 3] = 0
    weights[:, 0] += weights[:, 0] == 0
    return weights
