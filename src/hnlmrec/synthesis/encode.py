"""The text vectors of the untuned language model: of all items, and of all users' profiles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from hnlmrec.config import FinetuneConfig, LanguageConfig
from hnlmrec.disk import write_atomically
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.language.served import ServedLanguageModel
from hnlmrec.measure import Meter
from hnlmrec.synthesis.query import PROMPTS
from hnlmrec.synthesis.states import UNTUNED, bare_encoder, encode_all
from hnlmrec.synthesis.task import Progress
from hnlmrec.synthesis.vectors import Shape, VectorTable

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
    meter, served = Meter(), language.served_model
    if served is not None:
        server = ServedLanguageModel(served, language.server)
        cut = language.max_tokens * _LONGEST_TOKEN
        prompts = [PROMPTS[kind].format(text)[:cut] for text in texts]
        table = _ask(server, prompts, folder / UNTUNED, f"{kind} texts", progress)
        tokens = sum(map(len, prompts)) // _CHARACTERS_A_TOKEN
    else:
        encoder = bare_encoder(LocalLanguageModel.load(language), finetune)
        segments = encoder.segments(kind, texts, None)
        table = encode_all(encoder, segments, folder / UNTUNED, f"{kind} texts", progress)
        tokens = int(encoder.count(segments).sum())
    report = EncodeReport(
        texts=len(table),
        width=table.width,
        tokens=tokens,
        estimated=served is not None,
        seconds=round(meter.seconds(), 3),
    )
    write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    return report


def _ask(
    server: ServedLanguageModel,
    prompts: Sequence[str],
    path: Path,
    what: str,
    progress: Progress | None,
) -> VectorTable:
    """Write the server's embeddings into a table; rows that are written are kept."""
    table = VectorTable.create(path, Shape(len(prompts), server.width))
    todo = table.missing()
    for start in range(0, len(todo), _CHUNK):
        rows = todo[start : start + _CHUNK]
        table.write(rows, server.encode([prompts[row] for row in rows]))
        if progress:
            done = len(prompts) - len(todo) + start + len(rows)
            progress(f"embedding {what}", done, len(prompts))
    return table
