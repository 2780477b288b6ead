"""`LanguageModel`: what the rest of the library asks of a language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypedDict

from torch import Tensor


class Message(TypedDict):
    """One turn of a chat: ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


Prompt = Sequence[Message]


class LanguageModel(Protocol):
    """Something that turns texts into vectors and prompts into JSON."""

    @property
    def name(self) -> str:
        """What tells its answers from another model's."""
        ...

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
    ) -> Iterator[str]:
        """Yield one answer a prompt, in the prompts' order, as soon as its batch is done.

        An answer follows the JSON schema, but one of ``max_new_tokens`` tokens may be cut short.
        """
        ...
