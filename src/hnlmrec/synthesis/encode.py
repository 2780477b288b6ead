"""The text vectors of the untuned language model: of all items, and of all users' profiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import BaseModel
from torch import Tensor

from hnlmrec.config import FinetuneConfig, LanguageConfig
from hnlmrec.disk import write_atomically
from hnlmrec.errors import ModelError
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.language.served import ServedLanguageModel
from hnlmrec.measure import Meter
from hnlmrec.synthesis.filling import Filling
from hnlmrec.synthesis.query import PROMPTS, QueryEncoder, Segments, tokens_of
from hnlmrec.synthesis.states import STATES_CHUNK, UNTUNED, bare_encoder
from hnlmrec.synthesis.task import Progress
from hnlmrec.synthesis.vectors import Rows, Shape, written_width

_CHUNK = 1024
# a bound on what a token stands for, and what it does in English: a server's own are not known here
_LONGEST_TOKEN, _CHARACTERS_A_TOKEN = 6, 4


class EncodeReport(BaseModel):
    """How many texts, the size of a vector, tokens read, and seconds since it was last begun.

    ``estimated`` says that the tokens are: a server does not count them for us.
    """

    texts: int
    width: int
    tokens: int
    estimated: bool
    seconds: float

    def lines(self) -> list[str]:
        """What to print."""
        about = "about " if self.estimated else ""
        return [
            f"{self.texts:,} texts, {self.width} numbers each; the language model read "
            f"{about}{self.tokens:,} tokens in {self.seconds:.0f} s"
        ]


def encode(
    kind: str,
    texts: Sequence[str],
    language: LanguageConfig,
    finetune: FinetuneConfig,
    folder: Path,
    progress: Progress | None = None,
) -> EncodeReport:
    """Write the state of each text, and ``report.json``; interrupted, it goes on where it was.

    Texts are worded, cut and pooled as the queries of fine-tuning are, without CF embeddings.
    On a server they are cut to about so many tokens, at six letters each.

    Parameters
    ----------
    kind
        ``user`` or ``item``: which wording.
    texts
        Profiles, by index.
    language
        Which model, and how long a text may be.
    finetune
        Pooling, of a local model.
    folder
        An existing folder. `hnlmrec.synthesis.states.load_untuned` reads it.
    progress
        Called with a text, how many are written, and of how many.
    """
    meter = Meter()
    source = Texts.of(kind, texts, language, finetune, written_width(folder / UNTUNED))
    table = source.filling.fill(folder, progress)
    report = EncodeReport(
        texts=len(table),
        width=table.width,
        tokens=source.tokens(),
        estimated=source.estimated,
        seconds=round(meter.seconds(), 3),
    )
    write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    return report


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts to be encoded: their table, and how many tokens they are.

    A local model is loaded by the first chunk, and without any by nobody.
    """

    filling: Filling
    tokens: Callable[[], int]
    estimated: bool

    @classmethod
    def of(
        cls,
        kind: str,
        texts: Sequence[str],
        language: LanguageConfig,
        finetune: FinetuneConfig,
        width: int | None = None,
    ) -> Self:
        """What `encode` writes of its parameters.

        A server is asked for the size of its vectors, unless ``width`` says it.
        """
        if language.served_model is not None:
            server = ServedLanguageModel(language.served_model, language.server)
            return cls._served(kind, texts, language.max_tokens, server, width or server.width)
        size, tokenizer = LocalLanguageModel.width_and_tokenizer(language)

        @cache
        def encoder() -> QueryEncoder:
            return bare_encoder(LocalLanguageModel.load(language), finetune)

        @cache
        def segments() -> Segments:
            return Segments(tokens_of(kind, texts, tokenizer, language.max_tokens), None)

        def compute(rows: Rows) -> Tensor:
            return encoder().encode(segments().take(rows))

        def tokens() -> int:
            return sum(map(len, segments().tokens))

        shape, what = Shape(len(texts), size), f"encoding {kind} texts"
        return cls(Filling(UNTUNED, shape, STATES_CHUNK, compute, what), tokens, estimated=False)

    @classmethod
    def _served(
        cls,
        kind: str,
        texts: Sequence[str],
        limit: int,
        server: ServedLanguageModel,
        width: int,
    ) -> Self:
        cut = limit * _LONGEST_TOKEN
        prompts = [PROMPTS[kind].format(text)[:cut] for text in texts]

        def compute(rows: Rows) -> Tensor:
            vectors = server.encode([prompts[row] for row in rows])
            if vectors.shape[1] != width:
                raise ModelError(
                    f"the server's vectors have {vectors.shape[1]} numbers, and had {width} before",
                    where="language.model",
                    mend="see what the server embeds with; to begin anew, delete the stage's "
                    "unfinished folder",
                )
            return vectors

        def tokens() -> int:
            return sum(map(len, prompts)) // _CHARACTERS_A_TOKEN

        shape, what = Shape(len(texts), width), f"embedding {kind} texts"
        return cls(Filling(UNTUNED, shape, _CHUNK, compute, what), tokens, estimated=True)
