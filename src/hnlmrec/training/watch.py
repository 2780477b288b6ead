"""Stops training that has gone wrong, and says where: the epoch, the batch, the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from hnlmrec.distributed import World
from hnlmrec.errors import HnlmrecError

# elsewhere than on a CPU to look at a number is to wait for all steps before it
_TOGETHER = 64
# a loss of this size, or of so many times that of the first epoch, will not come back
_LARGEST, _GROWTH = 1e6, 1e3
_SHOWN = 4
_COUNTS = {"epoch", "missing"}
_MEND = (
    "lower training.lr, or raise training.l2 or a loss's temperature; the checkpoint of the last "
    "evaluation stays"
)


class Watch:
    """Adds up the parts of the loss over an epoch, and looks at each batch for what is not finite.

    Parameters
    ----------
    module
        What is trained.
    epoch
        Its number.
    device
        Of the module. On a CPU every batch is looked at before it moves the parameters; elsewhere
        64 together.
    """

    def __init__(self, module: nn.Module, epoch: int, device: torch.device) -> None:
        self._module, self._epoch = module, epoch
        self._on_cpu = device.type == "cpu"
        self._recent: list[dict[str, Tensor]] = []
        self._batches = 0
        self._totals: dict[str, Tensor] = {}

    def add(self, parts: dict[str, Tensor]) -> None:
        """Take the parts of a batch's loss, and counts; a HnlmrecError when one is not finite."""
        for name, value in parts.items():
            self._totals[name] = self._totals.get(name, torch.zeros_like(value)) + value
        self._batches += 1
        if self._on_cpu:
            self._check(parts, self._batches)
            return
        self._recent.append(parts)
        if len(self._recent) == _TOGETHER:
            self._look()

    def totals(self) -> dict[str, float]:
        """The sum over all batches of each part."""
        self._look()
        return {name: value.item() for name, value in self._totals.items()}

    def _look(self) -> None:
        """Look at the batches since the last time; wait for the device once if all is well."""
        values = [value.float() for parts in self._recent for value in parts.values()]
        if values and not torch.stack(values).isfinite().all():
            for place, parts in enumerate(self._recent, start=self._batches - len(self._recent)):
                self._check(parts, place + 1)
        self._recent.clear()

    def _check(self, parts: dict[str, Tensor], batch: int) -> None:
        numbers = {name: value.item() for name, value in parts.items()}
        if not all(map(math.isfinite, numbers.values())):
            raise not_finite(self._module, f"epoch {self._epoch}, batch {batch}", numbers)


def not_finite(
    module: nn.Module, where: str, parts: Mapping[str, float], *, mend: str = _MEND
) -> HnlmrecError:
    """The error of a loss that is not finite: where in training, and its parts or measures."""
    shown = ", ".join(f"{name} {value:.4g}" for name, value in parts.items())
    return HnlmrecError(
        f"training stopped, as the loss is not finite in {where} ({shown}); {blame(module)}",
        where="training",
        mend=mend,
    )


def check_epoch(module: nn.Module, row: Mapping[str, float], first: Mapping[str, float]) -> None:
    """Raise a HnlmrecError when a loss has grown beyond return.

    Parameters
    ----------
    module
        What is trained.
    row, first
        The mean over steps of each part of the loss, and counts, in this epoch and in the first.
    """
    # a row of the history has more than the loss; a part may begin later
    parts = [name for name in row if name not in _COUNTS]
    now, then = (sum(one.get(name, 0.0) for name in parts) for one in (row, first))
    if abs(now) > min(_LARGEST, _GROWTH * max(1.0, abs(then))):
        raise HnlmrecError(
            f"training diverges: the loss is {now:.3g} in epoch {row['epoch']:.0f} and was "
            f"{then:.3g} in the first; {blame(module)}",
            where="training",
            mend=_MEND,
        )


def check_parameters(module: nn.Module, epoch: int) -> None:
    """Raise a HnlmrecError when a parameter is not finite, as one that no batch met may be."""
    if broken := _broken(module.named_parameters()):
        raise HnlmrecError(
            f"training stopped in epoch {epoch}, as parameters are not finite: {broken}",
            where="training",
            mend=_MEND,
        )


def everywhere(world: World, check: Callable[[], None]) -> None:
    """Run a check in each process; raise its HnlmrecError in all of them when one has it.

    Else the others would wait for it in the next exchange.
    """
    error: HnlmrecError | None = None
    try:
        check()
    except HnlmrecError as found:
        error = found
    failed = world.sum(torch.tensor([float(error is not None)]))
    if error is not None:
        raise error
    if failed > 0:
        raise HnlmrecError("another process stopped, and its message says why", where="training")


def blame(module: nn.Module) -> str:
    """Name parameters that are not finite; else those whose gradient is not; else the largest."""
    named = list(module.named_parameters())
    if broken := _broken(named):
        return f"not finite: {broken}"
    gradients = [(name, value.grad) for name, value in named if value.grad is not None]
    if broken := _broken(gradients):
        return f"all parameters are finite, but not the gradient of: {broken}"
    largest, name = max((value.detach().abs().max().item(), name) for name, value in named)
    return f"all parameters are finite; the largest number, {largest:.3g}, is in {name}"


def _broken(named: Iterable[tuple[str, Tensor]]) -> str:
    """Names of the tensors that hold what is not finite, as text; empty when there is none."""
    names = []
    for name, value in named:
        numbers = value.detach()
        numbers = numbers._values() if numbers.is_sparse else numbers
        if not numbers.isfinite().all():
            share = (~numbers.isfinite()).float().mean().item()
            names.append(f"{name} ({share:.1%} of its numbers)")
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
