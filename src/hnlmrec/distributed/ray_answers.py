"""Questions answered by Ray's workers, into the cache of answers, before a stage asks them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path

from hnlmrec.config import LanguageConfig, ProfileConfig
from hnlmrec.context import Context
from hnlmrec.distributed.ray_pool import on_workers
from hnlmrec.distributed.work import questions_of
from hnlmrec.errors import HnlmrecError, ModelError
from hnlmrec.language.cache import AnswerCache, Kept
from hnlmrec.language.protocol import LanguageModel
from hnlmrec.language.writer import KeptAnswers, Usage, Writer, model_of
from hnlmrec.profiles.asking import Form, Written, ask, estimate
from hnlmrec.profiles.fallbacks import check_share
from hnlmrec.profiles.prompts import Request
from hnlmrec.profiles.questions import Questions

# batches of a local model, or requests to a server for each that is under way, in a task
_BATCHES = 8


@dataclass(frozen=True)
class Block:
    """A task: requests, and the answers that are known of those that were rejected."""

    requests: dict[int, Request]
    known: list[Kept]


@dataclass
class Outcome:
    """What came of a block: new answers, why requests have none, questions asked in vain."""

    written: Written[object]
    usage: Usage
    answers: list[Kept] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    error: tuple[str, str | None, str | None] | None = None


def answer_ahead(context: Context, stage: str, writer: Writer) -> None:
    """Let workers answer what a stage asks, repairs included; ``writer`` then knows it all.

    Answers are in its cache as soon as they come: after a kill only those of the blocks under way
    are asked for again.

    Raises
    ------
    ModelError
        When workers cannot ask any more, or more answers cannot be used than the stage allows.
    """
    config, questions = context.config, questions_of(context, stage)
    # what many answers have in common is seen when they are together
    questions = replace(questions, form=replace(questions.form, unlike=False))
    asking, engine, total = config.profile, config.engine, len(questions.requests)
    language = config.language.model_copy(update={"model": asking.model or config.language.model})
    settled: Written[object] = Written()
    says = estimate(questions.requests, questions.form, asking, writer, language.server)
    context.reporter.line(f"    {engine.workers} workers: {says}")
    blocks = list(_blocks(questions, asking, language, writer, settled))
    open_ = sum(len(block.requests) for block in blocks)
    proven = writer.cache.seconds_an_answer(writer.identity) is not None
    args = (language, writer.identity, proven, questions.form, asking)
    came = 0
    for outcome in on_workers(engine, _answering, args, blocks):
        writer.cache.add_missing(outcome.answers)
        writer.failures |= outcome.failures
        _count(writer.usage, outcome)
        if outcome.error is not None:
            what, where, mend = outcome.error
            kept = f"{writer.usage.asked:,} new answers are kept in {writer.cache.path}"
            raise ModelError(f"{what}; {kept}", where=where, mend=mend)
        settled.reasons |= outcome.written.reasons
        settled.examples |= outcome.written.examples
        came += len(outcome.written.answers) + len(outcome.written.reasons)
        context.reporter.progress(f"{questions.form.what} by workers", came, open_)
        check_share(
            settled.reasons, settled.examples, total, questions.limit, questions.form.what,
            writer.identity,
        )  # fmt: skip


def _blocks(
    questions: Questions,
    asking: ProfileConfig,
    language: LanguageConfig,
    writer: Writer,
    settled: Written[object],
) -> Iterator[Block]:
    """What is still to be asked, some requests at a time; of the others ``settled`` is told."""
    at_once = asking.batch_size
    if language.served_model is not None:
        at_once = language.server.concurrency
    names, size = list(questions.requests), _BATCHES * at_once
    for start in range(0, len(names), size):
        some = {name: questions.requests[name] for name in names[start : start + size]}
        kept = KeptAnswers(writer.identity, writer.cache)
        written: Written[object] = ask(some, questions.form, asking, kept)
        settled.reasons |= {
            name: reason for name, reason in written.reasons.items() if name not in written.open
        }
        settled.examples |= written.examples
        if written.open:
            yield Block({name: some[name] for name in some if name in written.open}, kept.found)


def _answering(
    language: LanguageConfig, identity: str, proven: bool, form: Form[object], asking: ProfileConfig
) -> Callable[[Block], Outcome]:
    """In a worker: answer blocks, by a model that the first of them loads."""

    @cache
    def load() -> LanguageModel:
        return model_of(language, proven=proven)

    def answer(block: Block) -> Outcome:
        known = {key for key, *_ in block.known}
        cache = AnswerCache(Path(":memory:"))
        cache.add_missing(block.known)
        writer = _WorkersWriter(identity, load, cache)
        outcome = Outcome(Written(), writer.usage, failures=writer.failures)
        try:
            outcome.written = ask(block.requests, form, asking, writer)
            # their texts are in the cache
            outcome.written.answers = dict.fromkeys(outcome.written.answers)
        except HnlmrecError as error:
            outcome.error = (error.what, error.where, error.mend)
        outcome.answers = [row for rows in cache.all() for row in rows if row[0] not in known]
        cache.close()
        return outcome

    return answer


class _WorkersWriter(Writer):
    @contextmanager
    def _saying_what_is_kept(self) -> Iterator[None]:
        # whoever keeps the answers says where
        yield


def _count(usage: Usage, outcome: Outcome) -> None:
    """Add what workers asked for, and take it from what the stage is about to count as known."""
    for one in fields(Usage):
        if one.name not in ("cached", "failed"):
            setattr(usage, one.name, getattr(usage, one.name) + getattr(outcome.usage, one.name))
    usage.cached -= len(outcome.answers)
