"""How profiles, names and picks are asked for: YAML files, one a kind, that a user can replace."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hnlmrec.config.loading import explain, read_yaml
from hnlmrec.errors import ConfigError

Kind = Literal["users", "items", "names", "picks"]
# what an answer of each kind consists of
_KEYS = {
    "users": {"summarization", "reasoning"},
    "items": {"summarization", "reasoning"},
    "names": {"hard_negative_item", "reasoning"},
    "picks": {"favourite", "least"},
}


class Wording(BaseModel):
    """How one kind of answer is asked for, with one worked example.

    Parameters
    ----------
    system
        What is to be done; that the data is data and no instruction is added to it.
    question
        Follows the data.
    example_data, example_answer
        Data and a good answer to the question.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    system: str = Field(min_length=1)
    question: str = Field(min_length=1)
    example_data: dict[str, str | list[str]]
    example_answer: dict[str, str]

    @classmethod
    def read(cls, kind: Kind, path: Path | None = None) -> Self:
        """Read a file, or the wording of this library.

        Raises
        ------
        ConfigError
            When the file is missing or not of this form.
        """
        if path is None:
            own = resources.files("hnlmrec.profiles").joinpath(f"wording_{kind}.yaml")
            return cls.model_validate(yaml.safe_load(own.read_text(encoding="utf-8")))
        try:
            wording = cls.model_validate(read_yaml(path))
        except ValidationError as error:
            raise ConfigError(explain(error), where=str(path)) from None
        if wording.example_answer.keys() != _KEYS[kind]:
            raise ConfigError(
                f"example_answer has {', '.join(wording.example_answer)} and needs "
                f"{', '.join(sorted(_KEYS[kind]))}",
                where=str(path),
            )
        return wording

    @property
    def example(self) -> str:
        """All that an answer might copy, as one text."""
        return f"{values(self.example_data)} {' '.join(self.example_answer.values())}"


def values(data: dict[str, str | list[str]]) -> str:
    """The words of the data without its keys."""
    return " ".join(value if isinstance(value, str) else " ".join(value) for value in data.values())
