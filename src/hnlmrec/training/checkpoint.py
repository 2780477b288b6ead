"""One safetensors file that holds all that a training run needs to go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from hnlmrec.disk import write_atomically
from hnlmrec.training.division import UNDIVIDED, Division

State = dict[str, Tensor]


def write_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: State,
    facts: dict[str, Any],
    division: Division = UNDIVIDED,
) -> None:
    """Write parameters, optimiser state, the best parameters so far and plain facts, at once.

    Of several processes the first writes, and what they divide it writes whole: any number of them
    can go on from it.
    """
    if not (division.world.is_first or division.has_columns):
        return
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
    plain = {name: value.contiguous() for name, value in division.gathered(tensors).items()}
    if division.world.is_first:
        write_atomically(path, save(plain, metadata={"facts": json.dumps(facts)}))


def read_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    division: Division = UNDIVIDED,
) -> tuple[State, dict[str, Any]] | None:
    """Restore model and optimiser in place; give the best parameters and the facts.

    A process that has columns of the table reads these alone.

    None when there is no checkpoint, or none that can be read: then training starts afresh, and
    model and optimiser are as they were.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = dict(json.loads(file.metadata()["facts"]))
            tensors = {name: division.read(file, name) for name in file.keys()}  # noqa: SIM118
        states: dict[int, State] = {}
        for name, value in _below("optimizer.", tensors).items():
            number, field = name.split(".", 1)
            states.setdefault(int(number), {})[field] = value
    except (OSError, SafetensorError, LookupError, TypeError, ValueError):
        return None
    parameters = _below("model.", tensors)
    if _shapes(parameters) != _shapes(model.state_dict()):
        return None
    before = optimizer.state_dict()
    try:
        optimizer.load_state_dict({**before, "state": states})
    except (LookupError, TypeError, ValueError):
        optimizer.load_state_dict(before)
        return None
    model.load_state_dict(parameters)
    return _below("best.", tensors), facts


def _shapes(state: State) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def _below(prefix: str, tensors: State) -> State:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
