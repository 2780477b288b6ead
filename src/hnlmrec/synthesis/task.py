"""The contrastive task that both phases of fine-tuning share, and the record of a phase."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from hnlmrec.config import FinetuneConfig
from hnlmrec.disk import write_atomically
from hnlmrec.synthesis.objective import contrastive_step
from hnlmrec.synthesis.pairs import PairSampler, Rows
from hnlmrec.synthesis.supervision import Supervision

Progress = Callable[[str, int, int], None]
Queries = Callable[[Tensor, Tensor], Tensor]
Measures = dict[str, float]


class Phase(BaseModel):
    """Held-out diagnostics of a phase, before it and at its best step; see `contrastive_step`."""

    before: Measures
    after: Measures
    best_step: int
    swapped: Measures = {}

    def line(self) -> str:
        """What to print."""
        changes = ", ".join(f"{k} {self.before[k]:.3f} -> {self.after[k]:.3f}" for k in self.after)
        swapped = "".join(f", {k} {v:.3f}" for k, v in self.swapped.items())
        return f"best step {self.best_step}; {changes}{swapped}"


@dataclass(frozen=True, eq=False)
class Task:
    """Training pairs with their targets, and the loss of any function that answers them.

    Parameters
    ----------
    config
        Objective and temperature.
    supervision
        Names the targets.
    pairs
        Training and held-out pairs.
    item_vectors
        Target space, float32 ``[n_items, width]``.
    seed
        Of the draws of targets.
    log_file
        Receives a JSON line a measurement.
    """

    config: FinetuneConfig
    supervision: Supervision
    pairs: PairSampler
    item_vectors: Tensor
    seed: int
    log_file: Path

    def loss(self, index: Rows, queries: Queries, draw: int) -> tuple[Tensor, Measures]:
        """Loss and diagnostics of pairs by position; ``draw`` numbers the draw of targets."""
        users, items = self.pairs.pairs(index)
        targets = self.targets(users, items, draw)
        return self._step(queries(users, items), targets, items)

    def targets(self, users: Tensor, items: Tensor, draw: int) -> Tensor:
        """The supervised hard negatives of pairs; the same for the same ``draw``."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + draw)
        return self.supervision.targets(users, items, generator)

    @torch.no_grad()
    def measure(self, index: Rows, queries: Queries) -> Measures:
        """Diagnostics of pairs, always with the same targets."""
        return self.loss(index, queries, 0)[1]

    @torch.no_grad()
    def swapped(self, index: Rows, queries: Queries) -> Measures:
        """In-batch accuracy when queries get another pair's user or item.

        As high as the accuracy itself, it says that the answer does not depend on that half.
        """
        users, items = self.pairs.pairs(index)
        targets = self.targets(users, items, 0)
        by_user = self._step(queries(users.roll(1), items), targets, items)[1]
        by_item = self._step(queries(users, items.roll(1)), targets, items)[1]
        return {
            "accuracy_of_other_user": by_user["accuracy"],
            "accuracy_of_other_item": by_item["accuracy"],
        }

    def log(self, phase: str, step: int, part: str, measures: Measures) -> None:
        """Append a line to the log."""
        row = {"phase": phase, "step": step, "part": part, **measures}
        with self.log_file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def cut_log(self, phase: str, step: int) -> None:
        """Drop what an interrupted run logged of a phase after ``step``, and of other phases."""
        if not self.log_file.exists():
            return
        kept = []
        for line in self.log_file.read_bytes().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                break  # the power failed while it was written
            if row["phase"] == phase and row["step"] <= step:
                kept.append(line + b"\n")
        write_atomically(self.log_file, b"".join(kept))

    def _step(self, answers: Tensor, targets: Tensor, items: Tensor) -> tuple[Tensor, Measures]:
        return contrastive_step(
            self.config.objective,
            answers.cpu(),
            targets,
            items,
            self.item_vectors,
            self.config.temperature,
        )
