"""Profiles of a server that fails in every way: bounded, counted, stopped, and gone on with."""

from __future__ import annotations

import io
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("openai", reason="needs the served extra")

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import LanguageConfig, ProfileConfig, RunConfig, ServerConfig
from hnlmrec.data import ItemTexts
from hnlmrec.errors import ArtifactError, ModelError
from hnlmrec.language.cache import AnswerCache
from hnlmrec.language.writer import Writer
from hnlmrec.pipeline import Pipeline
from hnlmrec.profiles import ProfileReport, generate_profiles
from hnlmrec.reporting import Reporter
from openai_server import FakeServer, serve
from profile_cases import data_of, good_answer, text_frame
from synthetic import GENRES, N_ITEMS, N_USERS, interactions, small_tree

# a question about each user and each item
ALL = N_USERS + N_ITEMS
RETRIES, AT_ONCE, IN_A_ROW = 3, 4, 5


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr("hnlmrec.language.requests._PAUSE", 0.001)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def server() -> Iterator[Callable[..., FakeServer]]:
    """Start a server; it stops when the test ends."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(serve(**{"reply": good_answer, **settings}))


@pytest.fixture
def generate(tmp_path: Path) -> Callable[..., ProfileReport]:
    """Write all profiles by a server; answers are kept from call to call."""
    titles = [f"Film {n}" for n in range(N_ITEMS)]
    categories = [GENRES[n % 2] for n in range(N_ITEMS)]
    texts = ItemTexts(text_frame(title=titles, categories=categories))

    def run(
        fake: FakeServer, share: float = 0.2, timeout: float = 5, at_once: int = AT_ONCE
    ) -> ProfileReport:
        language = LanguageConfig(
            model="openai:m",
            answers=tmp_path / "answers.sqlite",
            server=ServerConfig(
                base_url=fake.url, retries=RETRIES, concurrency=at_once, timeout=timeout,
                give_up_after=IN_A_ROW,
            ),
        )  # fmt: skip
        config = ProfileConfig(generator="llm", max_fallback_share=share)
        return generate_profiles(
            config, interactions(), texts, None, tmp_path, 0, lambda: Writer.of(language),
            language.server,
        )  # fmt: skip

    return run


def about(title: str, fault: str) -> Callable[[dict[str, Any]], str]:
    """A fault of the questions about one item."""
    return lambda body: fault if data_of(body["messages"]).get("title") == title else ""


def sources(report: ProfileReport, source: str) -> int:
    return report.users.get(source, 0) + report.items.get(source, 0)


@pytest.mark.parametrize(
    "fault", ["429", "wait0.01", "500", "503", "drop", "reset", "cut", "malformed", "empty", "page"]
)
def test_a_storm_that_passes_costs_repetitions_alone(server, generate, fault: str) -> None:
    seen: Counter[str] = Counter()

    def storm(body: dict[str, Any]) -> str:
        question = json.dumps(body["messages"])
        seen[question] += 1
        return fault if seen[question] <= RETRIES else ""

    fake = server(fault_of=storm)
    report = generate(fake)
    assert sources(report, "llm") == ALL
    assert (report.fallbacks, report.usage["failed"]) == ({}, 0)
    assert len(fake.requests) == ALL * (1 + RETRIES)


def test_hangs_are_given_up_and_asked_again(server, generate) -> None:
    fake = server(faults=["slow", "drip", "", ""] * 2)
    report = generate(fake, timeout=0.3)
    assert (sources(report, "llm"), report.fallbacks) == (ALL, {})
    assert len(fake.requests) == ALL + 4


@pytest.mark.parametrize("fault", ["429", "wait0.01", "503", "drop", "reset", "malformed"])
def test_a_storm_that_does_not_pass_is_told_and_gone_on_with(server, generate, fault: str) -> None:
    fake = server(faults=[""] * 20 + [fault] * 999)
    with pytest.raises(ModelError, match=r"in a row.* are kept in .*run the same command again"):
        generate(fake)
    assert len(fake.requests) <= 20 + (IN_A_ROW + AT_ONCE - 1) * (1 + RETRIES)
    well = server()
    report = generate(well)
    assert (sources(report, "llm"), report.fallbacks) == (ALL, {})
    assert (len(well.requests), report.usage["cached"]) == (ALL - 20, 20)


def test_a_server_that_dies_for_good_is_left_and_nothing_is_paid_twice(
    server, generate, tmp_path: Path
) -> None:
    fake = server(dies_after=33)
    with pytest.raises(ModelError, match="does not answer") as caught:
        generate(fake)
    kept = len(AnswerCache(tmp_path / "answers.sqlite").find(_keys(tmp_path)))
    assert kept == 33
    assert f"{kept} new answers and 0 known before are kept in {tmp_path}" in str(caught.value)
    assert len(fake.requests) <= 33 + (IN_A_ROW + AT_ONCE - 1) * (1 + RETRIES)
    # as dead as before: nothing new, and what is kept is still there
    with pytest.raises(ModelError, match="0 new answers and 33 known before"):
        generate(server(dies_after=0))
    well = server()
    generate(well)
    assert len(well.requests) == ALL - 33


def _keys(folder: Path) -> list[str]:
    rows = sqlite3.connect(folder / "answers.sqlite").execute("SELECT key FROM answers")
    return [key for (key,) in rows]


@pytest.mark.parametrize(
    ("fault", "reason", "sent"),
    [
        ("400", "the server refused the question (status 400)", 1),
        ("422", "the server refused the question (status 422)", 1),
        ("503", "the server failed (status 503)", 1 + RETRIES),
        ("drop", "no connection to the server", 1 + RETRIES),
        ("slow", "no answer from the server in time", 1 + RETRIES),
        ("flood", "the server sent too much", 1 + RETRIES),
        ("empty", "no answer of the OpenAI kind", 1 + RETRIES),
    ],
)
def test_a_question_that_always_fails_is_a_fallback_with_its_reason(
    server, generate, fault: str, reason: str, sent: int
) -> None:
    fake = server(fault_of=about("Film 7", fault))
    report = generate(fake, timeout=0.5 if fault == "slow" else 5)
    assert report.fallbacks == {reason: 1}
    assert report.items == {"llm": N_ITEMS - 1, "fallback": 1}
    assert report.usage["failed"] == 1
    assert len(fake.requests) == ALL - 1 + sent
    assert f"note: 1 rejected, a template instead: {reason}" in report.lines()
    assert "to ask them again, delete the folder profile" in report.lines()[-1]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda _: '{"answer": 42}', "not a complete profile in JSON"),
        (lambda _: '[{"summarization": "x", "reasoning": "y"}]' * 2, "not a complete profile"),
        (lambda _: '{"summarization": {"a": 1}, "reasoning": null}', "not a complete profile"),
        (lambda _: "[" * 2000, "not a complete profile in JSON"),
        (lambda _: '{"summarization": "' + "x" * 10**6, "not a complete profile in JSON"),
        (
            lambda _: json.dumps({"summarization": "喜欢冒险和爱情电影的用户", "reasoning": "是"}),
            "shares no word with its data",
        ),
        (
            lambda _: json.dumps({"summarization": "Mag solche Sachen sehr.", "reasoning": "Ja."}),
            "shares no word with its data",
        ),
    ],
    ids=["keys", "list", "types", "brackets", "megabyte", "chinese", "german"],
)
def test_answers_of_no_use_stop_the_run_and_are_not_paid_twice(
    server, generate, tmp_path: Path, reply, reason: str
) -> None:
    fake = server(reply=reply)
    said = rf"profile\.max_fallback_share: {ALL} of {ALL} profiles .*more than 20%: {ALL} {reason}"
    with pytest.raises(ModelError, match=said):
        generate(fake)
    # at once, to be repaired, asked anew; what is quoted of an answer is short
    assert len(fake.requests) == 3 * ALL
    assert max(len(json.dumps(request)) for request in fake.requests) < 8000
    assert sum(file.stat().st_size for file in tmp_path.glob("answers.sqlite*")) < 6 * 2**20
    # the limit is the user's; by it the same answers do
    report = generate(fake, share=1)
    assert sources(report, "fallback") == ALL == sum(report.fallbacks.values())
    assert len(fake.requests) == 3 * ALL


def test_a_model_that_writes_nothing_of_use_is_found_out_before_all_is_paid_for(
    server, generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hnlmrec.profiles.asking._TOGETHER", 10)
    fake = server(reply=lambda _: "no")
    with pytest.raises(ModelError, match=f"20 of {ALL} profiles") as caught:
        generate(fake)
    assert len(fake.requests) == 20 * 3
    # what the error advises for a server that was at fault
    cache = AnswerCache(tmp_path / "answers.sqlite")
    (model,) = re.findall("--model '(.*)'", str(caught.value))
    assert cache.prune(model=model) > 0
    assert cache.summary().is_empty()
    well = server()
    assert generate(well).attempts == {"at once": ALL}


def test_an_answer_in_the_error_cannot_act_on_a_terminal(server, generate) -> None:
    with pytest.raises(ModelError, match="as '") as caught:
        generate(server(reply=lambda _: "\x1b[2J\u202eevil"))
    assert not re.search("[\x00-\x1f\u202e]", str(caught.value))


def test_a_few_answers_of_no_use_are_within_the_limit(server, generate) -> None:
    def reply(prompt: list[dict[str, str]]) -> str:
        bad = data_of(prompt).get("title") in [f"Film {n}" for n in range(14)]
        return "no" if bad else good_answer(prompt)

    report = generate(server(reply=reply))
    assert report.fallbacks == {"not a complete profile in JSON": 14}
    with pytest.raises(ModelError, match=r"14 of 70 profiles .*more than 19%"):
        generate(server(reply=reply), share=0.19)


def test_one_answer_to_all_questions_is_of_no_use(server, generate) -> None:
    # it has a word of every question
    said = {"summarization": "Likes Film, Drama, Romance, Action and War.", "reasoning": "It is."}
    fake = server(reply=lambda _: json.dumps(said))
    with pytest.raises(ModelError, match=f"{ALL} the same answer as to many other questions"):
        generate(fake)
    assert len(fake.requests) == ALL


def test_answers_to_other_questions_stop_the_run_or_are_suspected(server, generate) -> None:
    asked: list[list[dict[str, str]]] = []

    def mixed(prompt: list[dict[str, str]]) -> str:
        asked.append(prompt)
        return good_answer(asked[-2] if len(asked) > 1 else prompt)

    # films of the other genre share no word with their data
    with pytest.raises(ModelError, match="shares no word with its data"):
        generate(server(reply=mixed), share=0.05, at_once=1)
    lines = generate(server(reply=mixed), share=1, at_once=1).lines()
    assert any("does the server mix answers up?" in line for line in lines), lines


@pytest.mark.parametrize(("n", "fallbacks"), [(10, 0), (11, 11)])
def test_few_equal_answers_may_be_so(server, generate, n: int, fallbacks: int) -> None:
    alike = [f"Film {number}" for number in range(n)]

    def reply(prompt: list[dict[str, str]]) -> str:
        if data_of(prompt).get("title") in alike:
            return json.dumps({"summarization": "Drama or action.", "reasoning": "It is."})
        return good_answer(prompt)

    report = generate(server(reply=reply))
    assert sum(report.fallbacks.values()) == fallbacks == sources(report, "fallback")
    assert sum(report.attempts.values()) == sources(report, "llm") == ALL - fallbacks


def test_a_run_counts_fallbacks_in_its_manifest_and_goes_on_with_another_server_and_limit(
    server, small_data: Path, tmp_path: Path
) -> None:
    def pipeline(fake: FakeServer, share: float, give_up_after: int = 5) -> Pipeline:
        tree = small_tree(small_data, Path("none"), tmp_path / "run")
        tree["profile"] = {
            "generator": "llm", "model": "openai:m", "max_fallback_share": share,
        }  # fmt: skip
        tree["language"]["answers"] = str(tmp_path / "answers.sqlite")
        tree["language"]["server"] = {
            "base_url": fake.url, "retries": 0, "concurrency": 2, "give_up_after": give_up_after,
        }  # fmt: skip
        return Pipeline(RunConfig.from_dict(tree), Reporter(Console(file=io.StringIO())))

    with pytest.raises(ModelError, match="are kept"):
        pipeline(server(dies_after=9), 0.2).run(["profile"])
    assert not (tmp_path / "run" / "profile").exists()
    fake = server(fault_of=about("Film 3", "400"))
    with pytest.raises(ModelError, match="max_fallback_share"):
        pipeline(fake, 0.01, 1).run(["profile"])
    # of what is missing one question alone is refused: the server is known to answer
    n_asked = len(fake.requests)
    pipeline(fake, 0.2, 1).run(["profile"])
    assert [data_of(body["messages"])["title"] for body in fake.requests[n_asked:]] == ["Film 3"]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    reason = "the server refused the question (status 400)"
    assert manifest["fallbacks"] == {"profile": {reason: 1}}
    assert (
        f"note: 1 rejected, a template instead: {reason}"
        in (manifest["stages"]["profile"]["lines"])
    )
    # whom it asks and when it stops is not in what it wrote
    again = pipeline(server(dies_after=0), 0.0)
    assert again.is_done("profile")


def test_the_report_of_a_damaged_stage_is_named(tmp_path: Path) -> None:
    (tmp_path / "pick").mkdir()
    (tmp_path / "pick" / "report.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"report\.json.*hnlmrec pick"):
        RunFolder(tmp_path).fallbacks("pick")
