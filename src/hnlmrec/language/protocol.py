"""`LanguageModel`: what the rest of the library asks of a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

from torch import Tensor


class Message(TypedDict):
    """One turn of a chat: ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


Prompt = Sequence[Message]


@dataclass(frozen=True)
class Answer:
    """What a model wrote.

    Parameters
    ----------
    text
        The answer.
    prompt_tokens, answer_tokens
        Of the question and of the answer, as the model counts them.
    whole
        Whether it ended by itself, and not at the limit of tokens.
    failure
        Why there is none, in a few fixed words; empty for an answer.
    """

    text: str
    prompt_tokens: int = 0
    answer_tokens: int = 0
    whole: bool = True
    failure: str = ""


class LanguageModel(Protocol):
    """Something that turns texts into vectors and prompts into JSON."""

    @property
    def width(self) -> int:
        """Size of a text's vector."""
        ...

    @property
    def writes(self) -> bool:
        """Whether it can write text; an encoder cannot."""
        ...

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Give the mean of each text's last hidden states, float32 ``[n, width]``, on the CPU.

        Vectors are not normalised; texts are cut at the model's ``max_tokens``.
        """
        ...

    def generate_json(
        self,
        prompts: Sequence[Prompt],
        schema: dict[str, Any],
        *,
        max_new_tokens: int,
        batch_size: int,
    ) -> Iterator[tuple[int, Answer]]:
        """Yield the place of a prompt and its answer, one a prompt, as soon as it is there.

        An answer follows the JSON schema where the model can be held to it; one of
        ``max_new_tokens`` tokens may be cut short.
        """
        ...
