"""`Scene`: what all figures of a source share, and the words that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from hnlmrec.report.frames import main_models
from hnlmrec.report.source import Source
from hnlmrec.report.style import Look, looks

SPREAD = "± one standard deviation over seeds"


@dataclass(frozen=True, eq=False)
class Scene:
    """A source, and how its models look.

    Parameters
    ----------
    source
        The run or study.
    every
        Looks of all models.
    few
        Those of the models that are drawn as lines.
    point
        The point that figures of one point show: the first.
    """

    source: Source
    every: dict[str, Look]
    few: dict[str, Look]
    point: str

    @classmethod
    def of(cls, source: Source) -> Self:
        """Set the scene of a source."""
        facts = source.facts
        point, every = facts.points[0], looks(facts.models, facts.reference)
        few = {model: every[model] for model in main_models(source, point)}
        return cls(source, every, few, point)

    @property
    def several(self) -> bool:
        """Whether there are several points."""
        return len(self.source.facts.points) > 1

    @property
    def axis(self) -> str:
        """What the points differ in."""
        return self.source.facts.axis.label or "point"

    def caption(self, *notes: str, one_point: bool = False, lines: bool = False) -> str:
        """Notes as sentences, with which point is shown, and that models are left out.

        Parameters
        ----------
        notes
            Without capitals and full stops; empty ones are passed over.
        one_point
            Whether the figure shows the first point only.
        lines
            Whether it shows few models only.
        """
        parts = list(notes)
        if one_point and self.several:
            parts.insert(0, f"at {self.axis} {self.point}")
        if lines and len(self.few) < len(self.every):
            parts.append(
                f"{len(self.few)} of {len(self.every)} models: the reference, the best without "
                "language stages, and the best others"
            )
        return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)
