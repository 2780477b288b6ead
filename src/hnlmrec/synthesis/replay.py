"""Random numbers of a batch that is encoded in pieces: those that the whole batch would draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import get_device_states, set_device_states

_ATTENTION = F.scaled_dot_product_attention


class RandomState:
    """The state of torch's generators, of the CPU and of a device, to go back to.

    Parameters
    ----------
    device
        Where the model draws.
    """

    def __init__(self, device: torch.device) -> None:
        self._cpu = torch.get_rng_state()
        # looks at where a tensor is, and gives nothing for the CPU
        self._devices, self._states = get_device_states(torch.empty(0, device=device))
        self._kind = device.type

    def restore(self) -> None:
        """Draw again what was drawn since this was made."""
        torch.set_rng_state(self._cpu)
        set_device_states(self._devices, self._states, device_type=self._kind)


class Draws:
    """What dropout keeps in this process's rows of a batch, call by call: a bit a number.

    Each call is drawn once, for the whole batch, so that rows keep what they keep there, and the
    generators end as the batch leaves them.

    Parameters
    ----------
    size
        How many rows the batch has.
    own
        Which of them are encoded here.
    """

    def __init__(self, size: int, own: slice) -> None:
        self._size, self._own = size, own
        self._bits: list[Tensor] = []

    def kept(self, call: int, like: Tensor, p: float, rows: Tensor) -> Tensor:
        """1 where the call of that number keeps, else 0: as ``like``, which has these rows.

        Pieces of a batch make the same calls, on rows of the same shape.
        """
        if call == len(self._bits):
            drawn = F.dropout(like.new_ones((self._size, *like.shape[1:])), p)
            self._bits.append(_pack(drawn[self._own] != 0))
        bits = self._bits[call][rows - self._own.start]
        return _unpack(bits, like.shape).to(like.dtype)


class DropoutOfBatch(TorchFunctionMode):
    """While it is entered, dropout in some rows of a batch is what it would be in the whole batch.

    All pieces must have the whole batch's padding. On CUDA attention draws within a fused kernel
    when a batch is encoded at once, so there it has other noise in pieces, of whatever size. A draw
    that is not by rows is left as it is.

    Parameters
    ----------
    draws
        Of the batch, for all of its pieces.
    rows
        Which rows of the batch are encoded, int64 ``[n]``.
    """

    def __init__(self, draws: Draws, rows: Tensor) -> None:
        super().__init__()
        self._draws, self._rows, self._calls = draws, rows, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take the place of the two functions by which models drop out."""
        given = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **given)
        if func is _ATTENTION and given.get("dropout_p", 0.0) > 0:
            return self._attention(*args, **given)
        return func(*args, **given)

    def _dropout(
        self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        if not training or p == 0 or len(input) != len(self._rows):
            return F.dropout(input, p, training, inplace)
        kept = self._draws.kept(self._calls, input.detach(), p, self._rows)
        self._calls += 1
        return input * (kept / (1 - p))

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Attention by its definition, which is how torch computes it with dropout on a CPU."""
        if enable_gqa:
            times = query.shape[1] // key.shape[1]
            key, value = (part.repeat_interleave(times, dim=1) for part in (key, value))
        scores = query @ key.transpose(-2, -1) * (scale or query.shape[-1] ** -0.5)
        if is_causal:
            attn_mask = scores.new_ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._dropout(scores.softmax(dim=-1), dropout_p) @ value


def _pack(kept: Tensor) -> Tensor:
    """The rows of a bool tensor, eight numbers a byte."""
    flat = kept.flatten(1).to(torch.uint8)
    flat = F.pad(flat, (0, -flat.shape[1] % 8)).unflatten(1, (-1, 8))
    bits: Tensor = (flat << _places(kept)).sum(dim=2, dtype=torch.uint8)
    return bits


def _unpack(bits: Tensor, shape: torch.Size) -> Tensor:
    """Zeros and ones of a shape from what `_pack` made of as many rows."""
    flat = (bits.unsqueeze(2) >> _places(bits)) & 1
    whole: Tensor = flat.flatten(1)[:, : shape[1:].numel()].unflatten(1, shape[1:])
    return whole


def _places(like: Tensor) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=like.device)
