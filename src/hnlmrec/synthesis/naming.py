"""Route A: the language model names a hard negative of a pair, and the name is looked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from hnlmrec.config import FinetuneConfig, ProfileConfig, RouteAConfig, ServerConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.disk import write_atomically
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.language.writer import Writer
from hnlmrec.profiles.asking import Form, Progress, ask, estimate
from hnlmrec.profiles.fallbacks import fallback_lines
from hnlmrec.profiles.prompts import Request, request
from hnlmrec.profiles.questions import Questions
from hnlmrec.profiles.schema import RejectedAnswerError, longest_text
from hnlmrec.profiles.store import Profiles
from hnlmrec.profiles.text import plain_items
from hnlmrec.profiles.wording import Wording
from hnlmrec.stage_names import NAME
from hnlmrec.synthesis.grounding import MEANING, NOTHING, SIMILAR, TITLE, Grounding, ground, simple
from hnlmrec.synthesis.named import NAME_STATES, NAMES, NO_ITEM
from hnlmrec.synthesis.states import bare_encoder, encode_all

MAX_WORDS = 20
_TITLE_STATES = "title_states"
_LONGEST_NAME = 100
_NONE = {"", "none", "null", "n a"}


class NamedItem(BaseModel):
    """What the language model answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hard_negative_item: str
    reasoning: str


class NamingReport(BaseModel):
    """How many pairs were asked about, and what the answers were worth.

    ``answers`` counts pairs: ``rejected`` had no usable answer, ``none`` said that there is no such
    item; the others by how the name was found in the catalogue: ``title``, ``similar title``,
    ``meaning``, ``nothing``. Of those that named something, ``interacted`` mean a training item of
    the user, ``duplicate`` repeat what was named for the user before. ``usable`` mean an item
    that the user has not interacted with. ``fallbacks`` counts the rejected by reason.
    """

    pairs: int
    answers: dict[str, int]
    interacted: int
    duplicate: int
    usable: int
    fallbacks: dict[str, int]
    usage: dict[str, int]

    def lines(self) -> list[str]:
        """What to print."""
        shares = ", ".join(f"{name} {n / self.pairs:.1%}" for name, n in self.answers.items())
        return [
            f"{self.pairs:,} training pairs; names found by: {shares}",
            f"of all pairs: the user's own training items {self.interacted / self.pairs:.1%}, "
            f"repeated for the user {self.duplicate / self.pairs:.1%}, usable as negatives "
            f"{self.usable / self.pairs:.1%}",
            "answers of the language model: {asked:,} ({prompt_tokens:,} tokens of prompts, "
            "{answer_tokens:,} of answers), {cached:,} from the cache".format(**self.usage),
            *fallback_lines(self.fallbacks, "rejected", self.usage.get("failed", 0), NAME),
        ]


def name_form(max_new_tokens: int) -> Form[str | None]:
    """The form of an answer: a title of at most 20 words, or None."""
    characters = longest_text(max_new_tokens)
    name = min(_LONGEST_NAME, characters // 2)
    lengths = {"hard_negative_item": name, "reasoning": characters - name}
    schema = {
        "type": "object",
        "properties": {
            key: {"type": "string", "maxLength": longest} for key, longest in lengths.items()
        },
        "required": list(lengths),
        "additionalProperties": False,
    }
    return Form("names", schema, read_name, max_new_tokens)


def read_name(text: str, asked: Request) -> str | None:
    """Read an answer: a name, or None for none; a RejectedAnswerError for what is neither."""
    braces = text[text.find("{") : text.rfind("}") + 1]
    try:
        name = " ".join(NamedItem.model_validate_json(braces).hard_negative_item.split())
    except ValidationError:
        raise RejectedAnswerError("not a name in JSON") from None
    if len(name.split()) > MAX_WORDS:
        raise RejectedAnswerError(f"name of more than {MAX_WORDS} words")
    if simple(name) in _NONE:
        return None
    if simple(name) == simple(asked.wording.example_answer["hard_negative_item"]):
        raise RejectedAnswerError("repeats the example")
    return name


def name_requests(
    pairs: npt.NDArray[np.int64],
    interactions: Interactions,
    profiles: Profiles,
    texts: ItemTexts,
    wording: Wording,
) -> dict[int, Request]:
    """Ask about training pairs, by their positions, from profiles and titles."""
    users, items = (part[pairs] for part in interactions.pairs("train"))
    titles = plain_items(texts).frame["title"]
    return {
        pair: request(
            wording,
            {"user": profiles.users[user], "title": titles[item], "item": profiles.items[item]},
        )
        for pair, user, item in zip(pairs.tolist(), users.tolist(), items.tolist(), strict=True)
    }


def write_names(
    config: RouteAConfig,
    asking: ProfileConfig,
    finetune: FinetuneConfig,
    interactions: Interactions,
    profiles: Profiles,
    texts: ItemTexts,
    folder: Path,
    seed: int,
    writer: Writer,
    language: Callable[[], LocalLanguageModel],
    prices: ServerConfig,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> NamingReport:
    """Write ``names.parquet``, the states of the distinct names, and ``report.json``.

    Parameters
    ----------
    config
        How many pairs, and what counts as found.
    asking
        How often is asked, how many at a time, and how many may have no usable answer.
    finetune
        Pooling of the states, as in fine-tuning.
    interactions, profiles, texts
        Only training pairs are read.
    folder
        An existing folder.
    seed
        Of the choice of pairs.
    writer
        Names the items.
    language
        Gives the model that encodes names and titles.
    prices, say, progress
        As in `generate_profiles`.
    """
    questions = name_questions(config, asking, interactions, profiles, texts, seed)
    requests, form = questions.requests, questions.form
    pairs = np.fromiter(requests, np.int64)
    if say is not None:
        say(estimate(requests, form, asking, writer, prices))
    written = ask(requests, form, asking, writer, progress, limit=questions.limit)
    # in an order of their own: answers come in any, and another one when a run goes on, whose
    # vectors of names would then be those of others
    names = sorted({name for name in written.answers.values() if name is not None})
    grounding = _ground(config, finetune, names, texts.titles(), folder, language, progress)
    frame = _table(pairs, written.answers, names, grounding, interactions)
    frame.write_parquet(folder / NAMES)
    found = Counter(frame["found"].to_list())
    kinds = (TITLE, SIMILAR, MEANING, NOTHING, "none", "rejected")
    report = NamingReport(
        pairs=len(pairs),
        answers={kind: found.get(kind, 0) for kind in kinds},
        interacted=int(frame["interacted"].sum()),
        duplicate=int(frame["duplicate"].sum()),
        usable=int(frame["usable"].sum()),
        fallbacks=written.fallbacks,
        usage=asdict(writer.usage),
    )
    write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    return report


def name_questions(
    config: RouteAConfig,
    asking: ProfileConfig,
    interactions: Interactions,
    profiles: Profiles,
    texts: ItemTexts,
    seed: int,
) -> Questions:
    """What the language model is asked about training pairs, by their positions, ascending."""
    n_pairs = interactions.train.nnz
    size = min(config.pairs or n_pairs, n_pairs)
    pairs = np.sort(np.random.default_rng(seed).choice(n_pairs, size, replace=False))
    wording = Wording.read("names", config.wording)
    requests = name_requests(pairs, interactions, profiles, texts, wording)
    users = interactions.pairs("train")[0][pairs].astype(np.int64)
    form = name_form(config.max_new_tokens)
    return Questions(requests, form, users, asking.max_fallback_share)


def _ground(
    config: RouteAConfig,
    finetune: FinetuneConfig,
    names: list[str],
    titles: Sequence[str],
    folder: Path,
    language: Callable[[], LocalLanguageModel],
    progress: Progress | None,
) -> Grounding:
    """Encode names, and titles when they are searched by meaning; look the names up."""
    encoder = bare_encoder(language(), finetune)
    segments = encoder.segments("item", names, None)
    states = encode_all(encoder, segments, folder / NAME_STATES, "names", progress)
    vectors = None
    if config.min_cosine is not None and names:
        segments = encoder.segments("item", titles, None)
        known = encode_all(encoder, segments, folder / _TITLE_STATES, "titles", progress)
        vectors = (states.read_all(), known.read_all())
    return ground(names, titles, config.min_ratio, vectors, config.min_cosine or 0.0)


def _table(
    pairs: npt.NDArray[np.int64],
    answers: dict[int, str | None],
    names: list[str],
    grounding: Grounding,
    interactions: Interactions,
) -> pl.DataFrame:
    """A row a pair: what was named, which item that is, and whether it can be a negative."""
    row_of = {name: row for row, name in enumerate(names)}
    users, items = (part[pairs].astype(np.int64) for part in interactions.pairs("train"))
    named = [answers.get(pair) for pair in pairs.tolist()]
    rows = np.array([NO_ITEM if name is None else row_of[name] for name in named], dtype=np.int64)
    # a last entry that the -1 of no name points to
    meant = np.append(grounding.items, NO_ITEM)[rows]
    found = [
        ("none" if pair in answers else "rejected") if row < 0 else grounding.how[row]
        for pair, row in zip(pairs.tolist(), rows.tolist(), strict=True)
    ]
    interacted = (meant >= 0) & _has(interactions, users, np.maximum(meant, 0))
    frame = pl.DataFrame(
        {
            "pair": pairs, "user": users, "positive": items, "name": named, "row": rows,
            "item": meant, "found": found, "interacted": interacted,
        },
        schema_overrides={"name": pl.String},
    )  # fmt: skip
    return frame.with_columns(
        duplicate=(pl.col("row") >= 0) & ~pl.struct("user", "row").is_first_distinct(),
        usable=(pl.col("item") >= 0) & ~pl.col("interacted"),
    )


def _has(
    interactions: Interactions, users: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether each is a training item of the user beside it."""
    if len(users) == 0:
        return np.zeros(0, dtype=np.bool_)
    present: Any = interactions.train[users, items]
    return np.asarray(present, dtype=np.bool_).ravel()
