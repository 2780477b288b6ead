"""What a pairwise model answers for some training pairs, for the amortized head to learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.stage_names import FINETUNE
from hnlmrec.synthesis.model import HardNegativeModel
from hnlmrec.synthesis.pairs import PairSampler
from hnlmrec.synthesis.task import Progress, Queries
from hnlmrec.synthesis.vectors import Rows, Shape, VectorTable

if TYPE_CHECKING:
    from hnlmrec.config import SynthesisConfig
    from hnlmrec.synthesis.finetune import SynthesisInputs

ANSWERS = "teacher_answers"
_CHUNK = 256
_MEASURED = 512


@dataclass(frozen=True, eq=False)
class Lesson:
    """Pairs and a teacher's answers.

    Parameters
    ----------
    users, items
        Of the pairs, int64 ``[N]``.
    answers
        The teacher's h(u, i), float32 ``[N, width]``.
    weight
        Of the loss.
    tokens
        What the teacher read.
    held_out
        How many of the last pairs are measured on and never learned.
    """

    users: Tensor
    items: Tensor
    answers: Tensor
    weight: float
    tokens: int
    held_out: int

    @classmethod
    def of_teacher(
        cls,
        config: SynthesisConfig,
        inputs: SynthesisInputs,
        language: LocalLanguageModel,
        folder: Path,
        seed: int,
        progress: Progress | None = None,
    ) -> Self:
        """Let the teacher that ``config.distill`` names answer; answers in ``folder`` are kept.

        Parameters
        ----------
        language
            A fresh local model. It is changed: the teacher's LoRA layers are put into it.

        Raises
        ------
        ArtifactError
            When the teacher is damaged, or not a pairwise model of the form that is configured.
        """
        distill = config.distill
        assert distill.teacher is not None
        pairs = PairSampler(inputs.interactions, config.finetune.held_out, seed)
        # the pairs that choose the head's checkpoint are not learned from the teacher either
        index = np.concatenate(
            [pairs.any(distill.pairs, np.random.default_rng(seed)), pairs.held_out[:_MEASURED]]
        )
        users, items = pairs.pairs(index)
        teacher = HardNegativeModel(
            config.model_copy(update={"mode": "pairwise", "user_states": "profile"}),
            language,
            (inputs.user_texts, inputs.item_texts),
            inputs.view,
            torch.zeros(2, language.width),
            seed,
        ).eval()
        teacher.restore(distill.teacher / FINETUNE)
        table = VectorTable.create(folder / ANSWERS, Shape(len(index), language.width))
        todo = table.missing()
        for start in range(0, len(todo), _CHUNK):
            rows = todo[start : start + _CHUNK]
            with torch.inference_mode():
                table.write(rows, teacher.pairwise_states(users[rows], items[rows]))
            if progress:
                progress(
                    "asking the teacher", len(table) - len(todo) + start + len(rows), len(table)
                )
        return cls(
            users, items, table.read_all(), distill.weight,
            teacher.pairwise_tokens(users.numpy(), items.numpy()),
            len(pairs.held_out[:_MEASURED]),
        )  # fmt: skip

    def loss(self, queries: Queries, size: int, random: np.random.Generator) -> Tensor:
        """Weight times one minus the mean cosine to the answers, of ``size`` random pairs."""
        rows = random.choice(self._learned, size=min(size, self._learned), replace=False)
        return self.weight * (1 - self._cosine(queries, rows))

    @torch.no_grad()
    def agreement(self, queries: Queries) -> float:
        """Mean cosine to the teacher's answers for the pairs that are not learned."""
        return float(self._cosine(queries, np.arange(self._learned, len(self.users))))

    @property
    def _learned(self) -> int:
        return len(self.users) - self.held_out

    def _cosine(self, queries: Queries, rows: Rows) -> Tensor:
        answers = queries(self.users[rows], self.items[rows]).cpu()
        return F.cosine_similarity(answers, self.answers[rows]).mean()
