"""Contrastive losses over embeddings."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

# cosines held at a time: on a CPU as many as stay in its caches between two passes
_CPU_CELLS, _CELLS = 1 << 19, 1 << 26


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
    Cost: 3 products of ``[B, D]`` with ``[D, B]`` for value and gradient; memory is linear in B.

    Parameters
    ----------
    a, b
        Float ``[B, D]``; row ``i`` of ``b`` is the target of row ``i`` of ``a``.
    temperature
        Divides the cosines, above 0.

    Returns
    -------
    Tensor
        A scalar; it can be differentiated once.
    """
    a, b = functional.normalize(a, dim=1) / temperature, functional.normalize(b, dim=1)
    loss: Tensor = _InBatchSoftmax.apply(a, b)  # type: ignore[no-untyped-call]
    return loss


class _InBatchSoftmax(Function):
    """The mean of ``log(sum_j exp(a_i . b_j)) - a_i . b_i``.

    The gradient is made with the value, from some rows of the cosines at a time: so they are
    never all there, and passed over while they are near.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        n = len(a)
        # before the mean: softmax(a b^T) b - b, and its transpose with a for b
        a_gradient, b_gradient = b.neg(), a.neg()
        loss = (a * b).sum().neg()
        together = max(1, (_CPU_CELLS if a.device.type == "cpu" else _CELLS) // max(1, n))
        for mine, gradient in zip(a.split(together), a_gradient.split(together), strict=True):
            weights = mine @ b.T
            peak = weights.amax(dim=1, keepdim=True)
            total = weights.sub_(peak).exp_().sum(dim=1, keepdim=True)
            loss += (total.log() + peak).sum()
            gradient += weights @ b / total
            b_gradient.addmm_(weights.T, mine / total)
        ctx.save_for_backward(a_gradient.div_(n), b_gradient.div_(n))
        return loss / n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        a_gradient, b_gradient = ctx.saved_tensors
        return gradient * a_gradient, gradient * b_gradient
