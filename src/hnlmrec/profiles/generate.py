"""Write the profiles of all users and items, by template, by the language model, or by both."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel

from hnlmrec.config import ProfileConfig, ServerConfig
from hnlmrec.data.interactions import NO_TEXT, Interactions, ItemTexts
from hnlmrec.language.writer import Writer
from hnlmrec.profiles.asking import Progress, Written, ask, estimate, profile_form
from hnlmrec.profiles.fallbacks import fallback_lines, mixed_up
from hnlmrec.profiles.history import training_items
from hnlmrec.profiles.prompts import Request, item_requests, user_requests
from hnlmrec.profiles.questions import Questions
from hnlmrec.profiles.schema import Profile
from hnlmrec.profiles.store import COLUMNS
from hnlmrec.profiles.template import item_templates, user_templates
from hnlmrec.profiles.text import plain_items
from hnlmrec.profiles.wording import Wording
from hnlmrec.stage_names import PROFILE


class ProfileReport(BaseModel):
    """Who wrote the profiles, and what it cost.

    ``users`` and ``items`` count profiles by source, ``fallbacks`` those without a usable answer by
    reason, ``attempts`` accepted ones by how often was asked; ``usage`` is what was asked of the
    model in this run, those of an interrupted one not counted; ``notes`` say what the user should
    know.
    """

    users: dict[str, int]
    items: dict[str, int]
    fallbacks: dict[str, int]
    attempts: dict[str, int]
    usage: dict[str, int]
    seconds: float
    notes: list[str] = []

    def lines(self) -> list[str]:
        """What to print."""
        lines = [
            f"{kind}: " + ", ".join(f"{count:,} {source}" for source, count in counts.items())
            for kind, counts in (("users", self.users), ("items", self.items))
        ]
        if self.usage:
            lines.append(
                "answers of the language model: {asked:,} ({prompt_tokens:,} tokens of prompts, "
                "{answer_tokens:,} of answers; {cut:,} cut at the limit), {cached:,} from the "
                "cache".format(**self.usage)
            )
        if self.attempts:
            lines.append(
                "accepted: " + ", ".join(f"{n:,} {attempt}" for attempt, n in self.attempts.items())
            )
        lines += [f"note: {note}" for note in self.notes]
        failed = self.usage.get("failed", 0)
        return lines + fallback_lines(
            self.fallbacks, "rejected, a template instead", failed, PROFILE
        )


class ProfileData:
    """The training data as profiles see it: plain texts, training items, training reviews.

    Parameters
    ----------
    config
        Who writes which profiles, in what words.
    interactions
        Only its training part is read.
    texts
        Item texts.
    reviews
        Columns ``user``, ``item``, ``review``, or None; those of other than training pairs are
        ignored.
    seed
        Of the items quoted.
    """

    def __init__(
        self,
        config: ProfileConfig,
        interactions: Interactions,
        texts: ItemTexts,
        reviews: pl.DataFrame | None,
        seed: int,
    ) -> None:
        self.config = config
        self.n_users, self.n_items = interactions.n_users, interactions.n_items
        self.texts = plain_items(texts)
        self.trained = training_items(interactions, self.texts, seed)
        if reviews is not None:
            reviews = reviews.join(self.trained, on=["user", "item"], how="semi")
        self.reviews = reviews

    def templates(self) -> tuple[list[str], list[str]]:
        """The profiles of all users and of all items that no model writes."""
        users = user_templates(self.trained, self.n_users, self.config.history)
        return users, item_templates(self.texts)

    def requests(
        self, users: npt.NDArray[np.int64], items: npt.NDArray[np.int64]
    ) -> dict[int, Request]:
        """Ask for some profiles: users by their index, items by theirs after all users.

        Nothing is asked about who has no training item and what has no text.
        """
        config = self.config
        of_users = Wording.read("users", config.user_wording)
        of_items = Wording.read("items", config.item_wording)
        asked = user_requests(users, self.trained, self.reviews, config.history, of_users)
        asked += item_requests(items, self.texts, self.reviews, of_items)
        names = [*users.tolist(), *(items + self.n_users).tolist()]
        return {
            name: one
            for name, one in zip(names, asked, strict=True)
            if one.data not in ("", NO_TEXT)
        }


def generate_profiles(
    config: ProfileConfig,
    interactions: Interactions,
    texts: ItemTexts,
    reviews: pl.DataFrame | None,
    folder: Path,
    seed: int,
    writer: Callable[[], Writer],
    prices: ServerConfig,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> ProfileReport:
    """Write ``users.parquet``, ``items.parquet`` and ``report.json`` into ``folder``.

    Both tables have the columns ``index``, ``summarization``, ``reasoning``, ``source`` (``llm``,
    ``template`` or ``fallback``) and ``reason`` (why an answer was rejected). Answers are kept in
    the writer's cache: after an interruption only the missing ones are asked for.

    Parameters
    ----------
    config, interactions, texts, reviews
        See `ProfileData`.
    folder
        An existing folder.
    seed
        Of the items quoted and of the sample that the language model writes.
    writer
        Gives what asks the language model; called only when it has to write.
    prices
        Of a server, to estimate the cost.
    say
        Called with the estimate, before the first question.
    progress
        Called with a text, how many answers are there, and of how many.
    """
    start = time.perf_counter()
    data = ProfileData(config, interactions, texts, reviews, seed)
    questions = profile_questions(data, seed)
    requests, form = questions.requests, questions.form
    written: Written[Profile] = Written()
    usage: dict[str, int] = {}
    notes: list[str] = []
    if requests:
        asking = writer()
        if config.generator == "template" and not asking.model.writes:
            notes.append("the language model only encodes, so it wrote no sample of profiles")
        else:
            if say is not None:
                say(estimate(requests, form, config, asking, prices))
            written = ask(requests, form, config, asking, progress, limit=questions.limit)
            usage = asdict(asking.usage)
            # in the order of the questions, whatever order the answers came in
            pairs = [
                (request.data, written.answers[name].summarization)
                for name, request in requests.items()
                if name in written.answers
            ]
            notes += [warning] if (warning := mixed_up(pairs)) else []
    counts = {}
    first = 0
    for kind, texts_of_kind in zip(("users", "items"), data.templates(), strict=True):
        table = _table(texts_of_kind, written, first)
        table.write_parquet(folder / f"{kind}.parquet")
        counts[kind] = dict(sorted(Counter(table["source"].to_list()).items()))
        first += len(texts_of_kind)
    report = ProfileReport(
        users=counts["users"],
        items=counts["items"],
        fallbacks=written.fallbacks,
        attempts=written.attempts,
        usage=usage,
        seconds=round(time.perf_counter() - start, 3),
        notes=notes,
    )
    (folder / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    return report


def profile_questions(data: ProfileData, seed: int) -> Questions:
    """What the language model is asked; ``seed`` is of the sample, where it writes only one."""
    config, rng = data.config, np.random.default_rng(seed)
    users = _chosen(config.generator, config.llm_sample_users, data.n_users, rng)
    items = _chosen(config.generator, config.llm_sample_items, data.n_items, rng)
    requests = data.requests(users, items)
    # a sample is for the eye
    limit = config.max_fallback_share if config.generator == "llm" else 1.0
    return Questions(requests, profile_form(config), np.fromiter(requests, np.int64), limit)


def _chosen(
    generator: str, sample: int, total: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The indices whose profile the language model writes, ascending."""
    if generator == "llm":
        return np.arange(total)
    return np.sort(rng.choice(total, size=min(sample, total), replace=False))


def _table(templates: list[str], written: Written[Profile], first: int) -> pl.DataFrame:
    """Lay the accepted answers over the templates; a rejected one leaves its reason.

    ``first`` is the number that the request about index 0 has, or would have.
    """
    overlaid: list[tuple[int, str, str, str, str | None]] = []
    here = range(first, first + len(templates))
    for name, profile in written.answers.items():
        if name in here:
            row = (name - first, profile.summarization, profile.reasoning, "llm", None)
            overlaid.append(row)
    for name, reason in written.reasons.items():
        if name in here:
            overlaid.append((name - first, templates[name - first], "", "fallback", reason))
    plain = pl.DataFrame(
        {"index": np.arange(len(templates)), "summarization": templates}, schema_overrides=COLUMNS
    ).with_columns(reasoning=pl.lit(""), source=pl.lit("template"), reason=pl.lit(None, pl.String))
    asked = pl.DataFrame(overlaid, schema=COLUMNS, orient="row")
    return pl.concat([plain.join(asked, on="index", how="anti"), asked]).sort("index")
