"""Contrastive losses over embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def contrastive(user: Tensor, positive: Tensor, synthesised: Tensor, temperature: float) -> Tensor:
    """Tell the positive from the synthesised hard negative of its own pair.

    HNLMRec (arXiv 2504.04726), L_CL: with cosine similarities ``c``, the mean of
    ``-log(exp(c_positive / t) / (exp(c_positive / t) + exp(c_synthesised / t)))``.

    Parameters
    ----------
    user, positive, synthesised
        Float ``[B, D]``.
    temperature
        ``t``, above 0.

    Returns
    -------
    Tensor
        A scalar.
    """
    wrong = functional.cosine_similarity(user, synthesised, dim=1)
    right = functional.cosine_similarity(user, positive, dim=1)
    return functional.softplus((wrong - right) / temperature).mean()


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Find each row of ``a`` again among the rows of ``b``: in-batch softmax over cosines.

    van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018.

    Parameters
    ----------
    a, b
        Float ``[B, D]``; row ``i`` of ``b`` is the target of row ``i`` of ``a``.
    temperature
        Divides the cosines, above 0.

    Returns
    -------
    Tensor
        A scalar.
    """
    logits = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T / temperature
    return functional.cross_entropy(logits, torch.arange(len(a), device=a.device))
