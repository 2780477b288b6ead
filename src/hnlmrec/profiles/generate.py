"""Write the profiles of all users and items, by template, by the language model, or by both."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel

from hnlmrec.config import ProfileConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.language.protocol import LanguageModel
from hnlmrec.profiles.answers import AnswerFile, answer_key
from hnlmrec.profiles.history import training_items
from hnlmrec.profiles.prompts import Request, item_requests, user_requests
from hnlmrec.profiles.schema import (
    RejectedAnswerError,
    answer_schema,
    check_grounded,
    parse,
)
from hnlmrec.profiles.store import COLUMNS
from hnlmrec.profiles.template import item_templates, user_templates
from hnlmrec.profiles.text import plain_items

Progress = Callable[[str, int, int], None]


class ProfileReport(BaseModel):
    """Who wrote the profiles, and what it cost.

    ``users`` and ``items`` count profiles by source, ``fallbacks`` rejected answers by reason;
    ``calls`` are the answers asked for in this run, those of an interrupted one not counted;
    ``notes`` say what the user should know.
    """

    users: dict[str, int]
    items: dict[str, int]
    fallbacks: dict[str, int]
    calls: int
    seconds: float
    notes: list[str] = []

    def lines(self) -> list[str]:
        """What to print."""
        lines = [
            f"{kind}: " + ", ".join(f"{count:,} {source}" for source, count in counts.items())
            for kind, counts in (("users", self.users), ("items", self.items))
        ]
        if self.calls:
            lines.append(f"answers of the language model: {self.calls:,}")
        lines += [f"note: {note}" for note in self.notes]
        return lines + [
            f"note: {count:,} rejected, a template instead: {reason}"
            for reason, count in self.fallbacks.items()
        ]


def generate_profiles(
    config: ProfileConfig,
    interactions: Interactions,
    texts: ItemTexts,
    reviews: pl.DataFrame | None,
    folder: Path,
    seed: int,
    language: Callable[[], LanguageModel],
    progress: Progress | None = None,
) -> ProfileReport:
    """Write ``users.parquet``, ``items.parquet`` and ``report.json`` into ``folder``.

    Both tables have the columns ``index``, ``summarization``, ``reasoning``, ``source`` (``llm``,
    ``template`` or ``fallback``) and ``reason`` (why an answer was rejected). Answers are kept in
    ``answers.jsonl``: after an interruption only the missing ones are asked for.

    Parameters
    ----------
    config
        Who writes which profiles.
    interactions
        Only its training part is read.
    texts
        Item texts.
    reviews
        Columns ``user``, ``item``, ``review``, or None; those of other than training pairs are
        ignored.
    folder
        An existing folder.
    seed
        Of the items quoted and of the sample that the language model writes.
    language
        Gives the language model; called only when it has to write.
    progress
        Called with a text, how many answers are there, and of how many.
    """
    start = time.perf_counter()
    texts = plain_items(texts)
    trained = training_items(interactions, texts, seed)
    if reviews is not None:
        reviews = reviews.join(trained, on=["user", "item"], how="semi")
    templates = {
        "users": user_templates(trained, interactions.n_users, config.history),
        "items": item_templates(texts),
    }
    rng = np.random.default_rng(seed)
    users = _chosen(config.generator, config.llm_sample_users, interactions.n_users, rng)
    items = _chosen(config.generator, config.llm_sample_items, interactions.n_items, rng)
    requests = {
        "users": dict(
            zip(users.tolist(), user_requests(users, trained, reviews, config.history), strict=True)
        ),
        "items": dict(zip(items.tolist(), item_requests(items, texts, reviews), strict=True)),
    }
    notes = []
    model = language() if any(requests.values()) else None
    if model is not None and not model.writes and config.generator == "template":
        requests = {kind: {} for kind in requests}
        notes.append("the language model only encodes, so it wrote no sample of profiles")
    answers, calls = _ask(config, requests, folder / "answers.jsonl", model, progress)

    fallbacks: Counter[str] = Counter()
    counts = {}
    for kind, written in templates.items():
        table = _table(written, requests[kind], answers[kind])
        table.write_parquet(folder / f"{kind}.parquet")
        counts[kind] = dict(sorted(Counter(table["source"].to_list()).items()))
        fallbacks.update(table["reason"].drop_nulls().to_list())
    report = ProfileReport(
        users=counts["users"],
        items=counts["items"],
        fallbacks=dict(sorted(fallbacks.items())),
        calls=calls,
        seconds=round(time.perf_counter() - start, 3),
        notes=notes,
    )
    (folder / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    return report


def _chosen(
    generator: str, sample: int, total: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The indices whose profile the language model writes, ascending."""
    if generator == "llm":
        return np.arange(total)
    return np.sort(rng.choice(total, size=min(sample, total), replace=False))


def _ask(
    config: ProfileConfig,
    requests: dict[str, dict[int, Request]],
    path: Path,
    model: LanguageModel | None,
    progress: Progress | None,
) -> tuple[dict[str, dict[int, str]], int]:
    """Get an answer to every request, by kind and index, and count those asked for now."""
    if model is None or not any(requests.values()):
        return {kind: {} for kind in requests}, 0
    schema = answer_schema(config.max_new_tokens)
    kept = AnswerFile(path)
    keys = {
        kind: {
            index: answer_key(request.prompt, schema, model.name, config.max_new_tokens)
            for index, request in of_kind.items()
        }
        for kind, of_kind in requests.items()
    }
    missing = {
        key: requests[kind][index].prompt
        for kind, of_kind in keys.items()
        for index, key in of_kind.items()
        if key not in kept
    }
    written = model.generate_json(
        list(missing.values()),
        schema,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
    )
    for done, (key, answer) in enumerate(zip(missing, written, strict=True), start=1):
        kept.add(key, answer)
        if progress is not None:
            progress("profiles by the language model", done, len(missing))
    found = {
        kind: {index: kept[key] for index, key in of_kind.items()} for kind, of_kind in keys.items()
    }
    return found, len(missing)


def _table(
    templates: list[str], requests: dict[int, Request], answers: dict[int, str]
) -> pl.DataFrame:
    """Lay the accepted answers over the templates; a rejected one leaves its reason."""
    overlaid: list[tuple[int, str, str, str, str | None]] = []
    for index, request in requests.items():
        try:
            profile = parse(answers[index])
            check_grounded(profile, request.data, request.wording.example)
        except RejectedAnswerError as error:
            overlaid.append((index, templates[index], "", "fallback", str(error)))
        else:
            overlaid.append((index, profile.summarization, profile.reasoning, "llm", None))
    plain = pl.DataFrame(
        {"index": np.arange(len(templates)), "summarization": templates}, schema_overrides=COLUMNS
    ).with_columns(reasoning=pl.lit(""), source=pl.lit("template"), reason=pl.lit(None, pl.String))
    asked = pl.DataFrame(overlaid, schema=COLUMNS, orient="row")
    return pl.concat([plain.join(asked, on="index", how="anti"), asked]).sort("index")
