"""What keeps the processes that fine-tune together on one model, and lets all encode for one."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn

from hnlmrec.distributed import World
from hnlmrec.errors import HnlmrecError
from hnlmrec.synthesis.model import HEAD, HardNegativeModel
from hnlmrec.synthesis.pieces import PieceEncoder
from hnlmrec.synthesis.query import QueryEncoder, Segments


class JointEncoder:
    """Encodes with all processes what the first one is asked for, in evaluation mode.

    The first calls `encode` as often as it likes, then `dismiss`; the others call `help`, which
    ends with that. So only the first needs to know what is to be encoded, or is already.

    Parameters
    ----------
    encoder
        The language model of this process; all hold the same weights.
    world
        The processes.
    """

    def __init__(self, encoder: QueryEncoder, world: World) -> None:
        self._encoder: QueryEncoder | PieceEncoder = encoder
        if world.size > 1:
            self._encoder = PieceEncoder(encoder, None, world)
        self._world = world
        self.width = encoder.width

    def encode(self, *parts: Segments) -> Tensor:
        """The states of any number of queries, float32 ``[n, width]``, on the CPU."""
        return self._encoder.encode(*self._tell(parts))

    def help(self) -> None:
        """Encode what the first process asks for, until it needs no more."""
        while parts := self._tell(()):
            self._encoder.encode(*parts)

    def dismiss(self) -> None:
        """Let the others end their `help`."""
        self._tell(())

    def _tell(self, parts: tuple[Segments, ...]) -> tuple[Segments, ...]:
        return self._world.tell(parts)


def sum_gradients(model: HardNegativeModel, world: World) -> None:
    """Add up what the processes' rows gave the parameters: the gradient of the whole batch.

    One sum of all LoRA and soft tokens a step, which is little. `DistributedDataParallel` would
    do it at each backward pass, of which a step in pieces has many, and it would average.
    """
    if world.size == 1:
        return
    device, gradients = model.encoder.language.device, []
    for name, parameter in model.trainable().items():
        if parameter.grad is None:
            continue
        if name.startswith(HEAD) and not world.is_first:
            # each has found the whole of it: the first's counts, so that all have the same bits
            parameter.grad.zero_()
        gradients.append(parameter.grad)
    total = world.sum(torch.cat([gradient.flatten().to(device) for gradient in gradients]))
    parts = total.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def check_agreement(parameters: nn.ParameterDict, step: int, world: World) -> None:
    """Make sure that all processes have done the same steps.

    Raises
    ------
    HnlmrecError
        In all processes, when the parameters or the step of one are not the first's.
    """
    if world.size == 1:
        return
    found = step
    for value in parameters.values():
        found = zlib.crc32(value.detach().cpu().contiguous().numpy(), found)
    differ = world.sum(torch.tensor([int(found != world.tell(found))]))
    if differ.item():
        raise HnlmrecError(
            f"{differ.item()} of {world.size} processes have other parameters than the first "
            f"after step {step} of LoRA",
            where="synthesis.finetune",
            mend="let all processes see the same run folder and use devices of one kind, and run "
            "the command again: it goes on from the checkpoint before",
        )
