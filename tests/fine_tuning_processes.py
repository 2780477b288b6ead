"""What tests start as one of several processes: fine-tuning of the tiny model, in several ways.

    RANK=0 WORLD_SIZE=2 ... python fine_tuning_processes.py MODEL ENCODED OUT WHAT

MODEL is the model's folder, ENCODED that of its untuned vectors of `TEXTS`. WHAT is ``cases``:
what each of `CASES` writes goes into OUT/NAME, with the bytes that were moved; ``differ``: the
processes have other parameters, and each writes what it is told; ``fail``: the last one fails.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hnlmrec.distributed import World, joined
from hnlmrec.errors import HnlmrecError
from hnlmrec.synthesis.finetune import finetune
from hnlmrec.synthesis.sharding import load_sharded
from hnlmrec.synthesis.states import Encoded
from hnlmrec.synthesis.together import check_agreement
from synthesis_cases import language_config, load_language, small_inputs, synthesis_config

DROPOUT = {"dropout": 0.3}
CASES: dict[str, dict[str, Any]] = {
    "amortized": DROPOUT,
    "pairwise in pieces": {"mode": "pairwise", "micro_batch": 3, "objective": "infonce", **DROPOUT},
    "histories": {"user_states": "history", "micro_batch": 1, **DROPOUT},
    # fewer pairs than three processes
    "few": {"mode": "pairwise", "batch_users": 2, "pairs_per_user": 1, "micro_batch": 1},
    "sharded": {"shard": True, "micro_batch": 2, **DROPOUT},
    "sharded, pairwise": {"shard": True, "mode": "pairwise", **DROPOUT},
}


@dataclass(frozen=True)
class CountingWorld(World):
    """Notes the bytes of what is summed, and of the rows that are gathered."""

    summed: list[int] = field(default_factory=list)
    gathered: list[int] = field(default_factory=list)

    def sum(self, tensor: Tensor) -> Tensor:
        self.summed.append(tensor.nbytes)
        return super().sum(tensor)

    def rows(self, own: Tensor) -> Tensor:
        found = super().rows(own)
        self.gathered.append(found.nbytes)
        return found


def fine_tune(
    name: str, model: Path, encoded: Path, out: Path, world: CountingWorld, progress: Any = None
) -> None:
    """Run one of `CASES`."""
    changes = dict(CASES[name])
    users = changes.pop("user_states", "profile")
    config = synthesis_config(changes.pop("mode", "amortized"), **changes)
    config = config.model_copy(update={"user_states": users})
    inputs = small_inputs(Encoded.open(encoded / "item", encoded / "user"))
    sharded = config.finetune.shard and world.size > 1
    language = load_sharded(language_config(model), world) if sharded else load_language(model)
    if sharded:
        parts = [
            value.to_local() for value in language.model.parameters() if hasattr(value, "to_local")
        ]
        assert len(parts) == len(list(language.model.parameters())) - 1
    folder = out / name
    if world.is_first:
        folder.mkdir(parents=True)
    world.wait()
    report = finetune(config, inputs, language, folder, 0, progress, world=world)
    if world.is_first:
        moved = {"summed": world.summed, "gathered": world.gathered}
        (folder / "moved.json").write_text(json.dumps(moved))
    # all give the first's report
    assert report.phases == world.tell(report).phases


def differ(out: Path, world: World) -> None:
    """Hold other parameters than the first, and be told."""
    parameters = nn.ParameterDict({"a": nn.Parameter(torch.full((3,), float(world.rank)))})
    check_agreement(nn.ParameterDict({"a": nn.Parameter(torch.zeros(3))}), 1, world)
    try:
        check_agreement(parameters, 2, world)
    except HnlmrecError as error:
        (out / f"{world.rank}.txt").write_text(str(error))


def main() -> None:
    """Do what the arguments say."""
    torch.set_num_threads(1)
    model, encoded, out = map(Path, sys.argv[1:4])
    with joined() as joined_world:
        world = CountingWorld(joined_world.rank, joined_world.size)

        def fail(what: str, step: int, total: int) -> None:
            if step == 2 and world.rank == world.size - 1:
                raise HnlmrecError("the last process fails")

        if sys.argv[4] == "differ":
            differ(out, world)
        elif sys.argv[4] == "fail":
            fine_tune("amortized", model, encoded, out, world, fail)
        else:
            for name in CASES:
                one = CountingWorld(world.rank, world.size)
                fine_tune(name, model, encoded, out, one)
            differ(out, world)


if __name__ == "__main__":
    main()
