"""The stage `pick`: a user's favourite and least liked item among candidates, for LLMRec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from hnlmrec.baselines.picks import PICKS
from hnlmrec.config import ProfileConfig, ServerConfig
from hnlmrec.config.baselines import PickConfig
from hnlmrec.data.interactions import ItemTexts
from hnlmrec.disk import write_atomically
from hnlmrec.language.writer import Writer
from hnlmrec.profiles.asking import Form, Progress, ask, estimate
from hnlmrec.profiles.fallbacks import fallback_lines
from hnlmrec.profiles.prompts import Request, request
from hnlmrec.profiles.questions import Questions
from hnlmrec.profiles.schema import RejectedAnswerError
from hnlmrec.profiles.text import plain_items
from hnlmrec.profiles.wording import Wording
from hnlmrec.stage_names import PICK

Candidates = npt.NDArray[np.int64]
Choice = tuple[int, int]


class PickedNumbers(BaseModel):
    """What the language model answers: numbers of the list, from 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    favourite: int
    least: int


class PickReport(BaseModel):
    """How many users there are, were asked about and have picks, and why others have none."""

    users: int
    asked: int
    picked: int
    picker: str
    fallbacks: dict[str, int] = {}
    usage: dict[str, int] = {}

    def lines(self) -> list[str]:
        """What to print."""
        lines = [
            f"{self.picked:,} of {self.asked:,} users asked about have picks, by {self.picker} "
            f"({self.users:,} users in all)"
        ]
        if self.usage:
            lines.append(
                "answers of the language model: {asked:,} ({prompt_tokens:,} tokens of prompts, "
                "{answer_tokens:,} of answers), {cached:,} from the cache".format(**self.usage)
            )
        failed = self.usage.get("failed", 0)
        return lines + fallback_lines(self.fallbacks, "without picks", failed, PICK)


def pick_form(n: int, max_new_tokens: int) -> Form[Choice]:
    """The form of an answer: two numbers from 1 to ``n``."""
    numbers = [str(number) for number in range(1, n + 1)]
    schema = {
        "type": "object",
        "properties": {key: {"type": "string", "enum": numbers} for key in ("favourite", "least")},
        "required": ["favourite", "least"],
        "additionalProperties": False,
    }

    def read(text: str, _: Request) -> Choice:
        return read_pick(text, n)

    return Form("picks", schema, read, max_new_tokens)


def read_pick(text: str, n: int) -> Choice:
    """Read an answer: places of the favourite and the least liked, from 0.

    Raises
    ------
    RejectedAnswerError
        When it is not two different numbers of the list.
    """
    braces = text[text.find("{") : text.rfind("}") + 1]
    try:
        found = PickedNumbers.model_validate_json(braces)
    except ValidationError:
        raise RejectedAnswerError("not two numbers in JSON") from None
    if not (1 <= found.favourite <= n and 1 <= found.least <= n):
        raise RejectedAnswerError("a number that is not of the list")
    if found.favourite == found.least:
        raise RejectedAnswerError("the same item as best and as least")
    return found.favourite - 1, found.least - 1


def pick_requests(
    users: npt.NDArray[np.int64],
    candidates: Candidates,
    profiles: list[str],
    texts: ItemTexts,
    wording: Wording,
) -> dict[int, Request]:
    """Ask about users ``[n]`` with candidates ``[n, C]``, by the user's index."""
    titles = plain_items(texts).frame["title"].to_list()
    return {
        user: request(
            wording,
            {
                "user": profiles[user],
                "candidates": [f"{n}. {titles[item]}" for n, item in enumerate(row, start=1)],
            },
        )
        for user, row in zip(users.tolist(), candidates.tolist(), strict=True)
    }


def chosen_users(config: PickConfig, n_users: int, seed: int) -> npt.NDArray[np.int64]:
    """The users that are asked about, ascending."""
    size = min(config.max_users or n_users, n_users)
    return np.sort(np.random.default_rng(seed).choice(n_users, size, replace=False))


def pick_by_model(
    config: PickConfig,
    asking: ProfileConfig,
    users: npt.NDArray[np.int64],
    candidates: Candidates,
    profiles: list[str],
    texts: ItemTexts,
    folder: Path,
    writer: Writer,
    prices: ServerConfig,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> PickReport:
    """Ask the language model about each user; write ``picks.parquet`` and ``report.json``.

    Answers are kept in the writer's cache: after an interruption only the missing ones are asked
    for. A user whose answers are all rejected has no picks, and is counted.

    Parameters
    ----------
    config
        Wording and length of answers.
    asking
        How often is asked, how many at a time, and how many may have no usable answer.
    users
        Indices, ``[n]``.
    candidates
        Items of each, ``[n, C]``, in the order that is shown; -1 where a user has fewer.
    profiles, texts
        What is told of users and of items.
    folder
        An existing folder.
    writer
        Picks.
    prices, say, progress
        As in `hnlmrec.profiles.generate.generate_profiles`.
    """
    questions = pick_questions(config, asking, users, candidates, profiles, texts)
    requests, form = questions.requests, questions.form
    if say is not None:
        say(estimate(requests, form, asking, writer, prices))
    written = ask(requests, form, asking, writer, progress, limit=questions.limit)
    row_of = {user: row for row, user in enumerate(users.tolist())}
    who = sorted(written.answers)
    rows = np.array([row_of[user] for user in who], dtype=np.int64)
    places = np.array([written.answers[user] for user in who], dtype=np.int64).reshape(-1, 2)
    report = PickReport(
        users=len(profiles),
        asked=len(users),
        picked=len(who),
        picker="llm",
        fallbacks=_too_few(candidates) | written.fallbacks,
        usage=asdict(writer.usage),
    )
    return _write(users, candidates, rows, places, report, folder)


def pick_questions(
    config: PickConfig,
    asking: ProfileConfig,
    users: npt.NDArray[np.int64],
    candidates: Candidates,
    profiles: list[str],
    texts: ItemTexts,
) -> Questions:
    """What the language model is asked about users who have all candidates; see `pick_by_model`."""
    whole = (candidates >= 0).all(axis=1)
    wording = Wording.read("picks", config.wording)
    requests = pick_requests(users[whole], candidates[whole], profiles, texts, wording)
    form = pick_form(candidates.shape[1], config.max_new_tokens)
    return Questions(requests, form, users[whole], asking.max_fallback_share)


def pick_by_vectors(
    users: npt.NDArray[np.int64],
    candidates: Candidates,
    user_vectors: Tensor,
    item_vectors: Tensor,
    folder: Path,
) -> PickReport:
    """Take the candidates nearest to and farthest from each user's profile; write as above.

    Parameters
    ----------
    users, candidates, folder
        As in `pick_by_model`.
    user_vectors, item_vectors
        Unit text vectors of all profiles and items, float32 ``[n, W]``.
    """
    whole = (candidates >= 0).all(axis=1)
    rows = np.flatnonzero(whole)
    found = item_vectors.numpy()[candidates[rows]] @ user_vectors.numpy()[users[rows], :, None]
    cosines = found[:, :, 0]
    places = np.stack([cosines.argmax(axis=1), cosines.argmin(axis=1)], axis=1)
    report = PickReport(
        users=len(user_vectors),
        asked=len(users),
        picked=len(rows),
        picker="encoder",
        fallbacks=_too_few(candidates),
    )
    return _write(users, candidates, rows, places, report, folder)


def _too_few(candidates: Candidates) -> dict[str, int]:
    """How many users have fewer candidates than are shown, as a reason for having no picks."""
    users = int((candidates < 0).any(axis=1).sum())
    return {"too few candidates": users} if users else {}


def _write(
    users: npt.NDArray[np.int64],
    candidates: Candidates,
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    report: PickReport,
    folder: Path,
) -> PickReport:
    frame = pl.DataFrame(
        {
            "user": users[rows],
            "favourite": candidates[rows, places[:, 0]],
            "least": candidates[rows, places[:, 1]],
        }
    )
    frame.write_parquet(folder / PICKS)
    write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    return report
