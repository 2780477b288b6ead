"""Models behind a server that answers late, wrongly, or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai", reason="needs the served extra")

from hnlmrec.config import LanguageConfig, RunConfig, ServerConfig
from hnlmrec.errors import ConfigError, ModelError
from hnlmrec.language.protocol import Answer
from hnlmrec.language.served import ServedLanguageModel, without_lengths
from hnlmrec.language.writer import Writer
from openai_server import FakeServer, serve, vector_of

PROMPTS = [[{"role": "user", "content": f"question {number}"}] for number in range(6)]
SCHEMA = {
    "type": "object",
    "properties": {"said": {"type": "string", "minLength": 1, "maxLength": 9}},
    "required": ["said"],
    "additionalProperties": False,
}
KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("hnlmrec.language.requests._PAUSE", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


@pytest.fixture
def server() -> Iterator[Callable[..., FakeServer]]:
    """Start a server; it stops when the test ends."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(serve(**settings))


def model(fake: FakeServer, **settings: object) -> ServedLanguageModel:
    settings = {"base_url": fake.url, "timeout": 5, "retries": 3, **settings}
    return ServedLanguageModel("some/model", ServerConfig(**settings))


def ask(served: ServedLanguageModel, prompts=PROMPTS, tokens: int = 20) -> dict[int, str]:
    answers = served.generate_json(prompts, SCHEMA, max_new_tokens=tokens, batch_size=1)
    return {place: answer.text for place, answer in answers}


EXPECTED = {n: json.dumps({"said": f"question {n}"}) for n in range(6)}


def test_every_prompt_is_answered_once_with_its_schema(server) -> None:
    fake = server()
    answers = dict(model(fake).generate_json(PROMPTS, SCHEMA, max_new_tokens=20, batch_size=1))
    assert {place: answer.text for place, answer in answers.items()} == EXPECTED
    assert all(answer.whole for answer in answers.values())
    assert {answer.prompt_tokens for answer in answers.values()} == {11}
    assert len(fake.requests) == 6
    for request in fake.requests:
        assert request["model"] == "some/model"
        assert request["max_tokens"] == 20
        assert request["temperature"] == 0
        assert request["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"response_format": "json_object"}, {"response_format": {"type": "json_object"}}),
        ({"response_format": "text"}, {}),
        ({"limit_key": "max_completion_tokens"}, {"max_completion_tokens": 20}),
    ],
)
def test_a_request_says_what_the_configuration_does(server, settings, expected) -> None:
    fake = server()
    ask(model(fake, temperature=None, **settings), PROMPTS[:1])
    (request,) = fake.requests
    assert request.items() >= expected.items()
    assert "temperature" not in request
    assert ("response_format" in request) == (settings.get("response_format") != "text")


def test_lengths_are_left_out_for_those_who_refuse_them(server) -> None:
    fake = server()
    ask(model(fake, response_format="json_schema_subset"), PROMPTS[:1])
    sent = fake.requests[0]["response_format"]["json_schema"]["schema"]
    assert sent == without_lengths(SCHEMA)
    assert sent["properties"] == {"said": {"type": "string"}}


def test_requests_run_together_but_not_too_many(server) -> None:
    fake = server(seconds=0.1)
    assert ask(model(fake, concurrency=3)) == EXPECTED
    assert fake.most_at_once == 3


@pytest.mark.parametrize(
    "fault",
    [
        "429",
        "500",
        "503",
        "slow",
        "drop",
        "cut",
        "reset",
        "malformed",
        "page",
        "empty",
        "wait0.01",
        "drip",
        "flood",
        "packed",
    ],
)
def test_a_request_that_fails_for_a_while_is_repeated(server, fault: str) -> None:
    fake = server(faults=[fault] * 2)
    assert ask(model(fake, timeout=1), PROMPTS[:2]) == {n: EXPECTED[n] for n in range(2)}
    assert len(fake.requests) == 4


def test_the_server_s_own_pause_is_kept(server) -> None:
    fake = server(faults=["wait0.5"])
    ask(model(fake), PROMPTS[:1])
    first, second = fake.times
    assert second - first >= 0.5


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("401 Incorrect key " + KEY, "refuses the key.*environment variable MY_KEY"),
        ("403", "refuses the key"),
        ("404", "knows no model 'some/model'"),
        ("400 maxLength is not permitted", "maxLength is not permitted.*response_format"),
        ("400 what is " + KEY, r"what is \*\*\*"),
        # a key at the end of what is shown of a long message
        ("400 " + "x" * 220 + KEY, r"x\*\*\*"),
        ("400 \x1b[2J gone", "refuses the request"),
        ("429", "refuses more requests.*concurrency"),
        ("500", "refuses the request"),
        ("drop", "does not answer.*base_url"),
        ("slow", "does not answer.*timeout"),
        ("malformed", "no answer of the OpenAI kind"),
        ("page", "no answer of the OpenAI kind"),
        ("empty", "no answer of the OpenAI kind"),
        ("402", "refuses the request"),
        ("drip", "does not answer.*timeout"),
        ("flood", "an answer of more than 4 MiB"),
        ("packed", "a compressed answer"),
    ],
)
def test_what_fails_for_good_is_explained_without_the_key(
    server, monkeypatch: pytest.MonkeyPatch, fault: str, said: str
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    fake = server(faults=[fault] * 99)
    served = model(fake, key_variable="MY_KEY", retries=1, timeout=1)
    with pytest.raises(ModelError, match=said) as caught:
        ask(served, PROMPTS[:1])
    assert fake.url in str(caught.value)
    assert KEY not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert fake.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_password_in_the_address_is_refused_without_showing_it() -> None:
    tree = {"language": {"server": {"base_url": "http://me:hidden@host:8000/v1"}}}
    with pytest.raises(ConfigError, match=r"language\.server\.base_url.*key_variable") as caught:
        RunConfig.from_dict(tree)
    assert "hidden" not in str(caught.value)
    assert ServerConfig(base_url="http://host/v1/@me").base_url is not None


def test_a_server_that_is_not_there_is_named() -> None:
    served = ServedLanguageModel("m", ServerConfig(base_url="http://127.0.0.1:9/v1", retries=0))
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9.*does not answer"):
        ask(served, PROMPTS[:1])


def test_a_password_in_the_address_of_the_environment_is_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:hidden@127.0.0.1:9/v1")
    with pytest.raises(ModelError, match=r"//\*\*\*@127\.0\.0\.1:9") as caught:
        ask(ServedLanguageModel("m", ServerConfig(retries=0)), PROMPTS[:1])
    assert "hidden" not in str(caught.value)


def test_neither_address_nor_key_is_named() -> None:
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        ask(ServedLanguageModel("m", ServerConfig()), PROMPTS[:1])


def test_the_address_may_come_from_the_environment(server, monkeypatch) -> None:
    fake = server()
    monkeypatch.setenv("OPENAI_BASE_URL", fake.url)
    assert ask(ServedLanguageModel("m", ServerConfig()), PROMPTS[:1]) == {0: EXPECTED[0]}


def test_answers_under_way_when_the_server_fails_are_not_lost(server) -> None:
    fake = server(seconds=0.05, faults=["", "500 no", "", ""])
    served = model(fake, concurrency=3, retries=0, give_up_after=1)
    came = {}
    with pytest.raises(ModelError):
        for place, answer in served.generate_json(PROMPTS, SCHEMA, max_new_tokens=20, batch_size=1):
            came[place] = answer.text
    assert len(came) == len(fake.requests) - 1 >= 2
    assert came.items() <= EXPECTED.items()


def test_an_answer_at_the_limit_is_cut(server) -> None:
    ((_, answer),) = model(server()).generate_json(
        PROMPTS[:1], SCHEMA, max_new_tokens=1, batch_size=1
    )
    assert not answer.whole
    assert answer.answer_tokens == 1


def test_texts_become_vectors_in_order(server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hnlmrec.language.served._TEXTS_A_REQUEST", 3)
    fake = server(faults=["500", "empty"])
    texts = [f"text{'a' * n}" for n in range(8)]
    served = model(fake)
    assert served.encode(texts).tolist() == [vector_of(text) for text in texts]
    assert served.width == 2
    assert served.encode([]).shape == (0, 2)
    assert all(len(request["input"]) <= 3 for request in fake.requests)


def test_a_writer_asks_the_server_once_and_goes_on_after_a_failure(server, tmp_path: Path) -> None:
    fake = server(faults=["", "", "500 stop"])
    language = LanguageConfig(
        model="openai:some/model",
        answers=tmp_path / "answers.sqlite",
        server=ServerConfig(base_url=fake.url, concurrency=1, retries=0, give_up_after=1),
    )

    def run(writer: Writer) -> dict[int, str]:
        written = writer.ask(PROMPTS, SCHEMA, max_new_tokens=20, batch_size=1)
        return {place: answer.text for place, answer in written}

    with pytest.raises(ModelError, match=r"2 new answers and 0 known before are kept in .*sqlite"):
        run(Writer.of(language))
    writer = Writer.of(language)
    assert run(writer) == EXPECTED
    assert len(fake.requests) == 3 + 4
    assert (writer.usage.asked, writer.usage.cached) == (4, 2)
    assert writer.cache.summary()["hits"].to_list() == [2]
    assert writer.usage.prompt_tokens == 44
    # another place of the same model needs no new answers; another format might give others
    moved = language.model_copy(
        update={"server": language.server.model_copy(update={"base_url": "http://127.0.0.1:9/v1"})}
    )
    assert run(Writer.of(moved)) == EXPECTED
    assert KEY not in (tmp_path / "answers.sqlite").read_bytes().decode("latin-1")


def test_equal_prompts_are_asked_once_and_empty_answers_not_kept(server, tmp_path: Path) -> None:
    fake = server(reply=lambda messages: "")
    language = LanguageConfig(
        model="openai:m",
        answers=tmp_path / "answers.sqlite",
        server=ServerConfig(base_url=fake.url),
    )
    for _ in range(2):
        written = Writer.of(language).ask(PROMPTS[:1] * 3, SCHEMA, max_new_tokens=20, batch_size=1)
        assert sorted((place, answer.text) for place, answer in written) == [
            (0, ""), (1, ""), (2, ""),
        ]  # fmt: skip
    assert len(fake.requests) == 2


@pytest.mark.parametrize(
    "body",
    [
        "null", "[]", "7", '"words"', "{}", '{"choices": 3}', '{"choices": "abc"}',
        '{"choices": [null]}', '{"choices": [{}]}', '{"choices": [{"message": "hello"}]}',
        '{"choices": [{"message": {"content": ["a", 1]}}]}',
        '{"choices": [{"message": {"content": {"said": "x"}}}]}',
        "[" * 100_000,
        '{"choices": ' + "1" * 5000 + "}",
    ],
    ids=lambda body: body[:40],
)  # fmt: skip
def test_a_response_of_another_form_is_no_answer_and_asked_for_again_so_often(server, body) -> None:
    fake = server(faults=[f"body {body}"] * 99)
    with pytest.raises(ModelError, match="no answer of the OpenAI kind"):
        ask(model(fake, retries=2), PROMPTS[:1])
    assert len(fake.requests) == 3


def test_repetitions_of_all_kinds_together_are_limited(server) -> None:
    fake = server(faults=["500", "malformed", "drop", "empty", "429", "reset", "page"] * 9)
    with pytest.raises(ModelError):
        ask(model(fake, retries=5), PROMPTS[:1])
    assert len(fake.requests) == 6


@pytest.mark.parametrize("usage", ['"many"', '{"prompt_tokens": "x", "completion_tokens": -3}'])
def test_a_usage_that_is_none_counts_nothing(server, usage: str) -> None:
    answer = '{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": %s}'
    fake = server(faults=["body " + answer % usage])
    ((_, got),) = model(fake).generate_json(PROMPTS[:1], SCHEMA, max_new_tokens=9, batch_size=1)
    assert (got.text, got.prompt_tokens, got.answer_tokens, got.whole) == ("hi", 0, 0, True)


def test_an_answer_beyond_all_limits_is_cut(server) -> None:
    fake = server(reply=lambda messages: "x" * 10**6)
    ((_, got),) = model(fake).generate_json(PROMPTS[:1], SCHEMA, max_new_tokens=20, batch_size=1)
    assert (len(got.text), got.whole) == (320, False)


def test_a_server_that_echoes_the_key_does_not_get_it_kept(server, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    fake = server(reply=lambda messages: f"Bearer {KEY}")
    assert ask(model(fake), PROMPTS[:1]) == {0: "Bearer ***"}
    # a word that stands for a key may well be a word of an answer
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    fake = server(reply=lambda messages: "none")
    assert ask(model(fake), PROMPTS[:1]) == {0: "none"}


def test_one_question_that_fails_is_told_and_not_the_end(server) -> None:
    def poisoned(body: dict[str, Any]) -> str:
        return "503" if body["messages"][0]["content"] == "question 2" else ""

    fake = server(fault_of=poisoned)
    served = model(fake, concurrency=1, retries=2)
    answers = dict(served.generate_json(PROMPTS, SCHEMA, max_new_tokens=20, batch_size=1))
    assert answers[2] == Answer("", whole=False, failure="the server failed (status 503)")
    assert {n: a.text for n, a in answers.items() if n != 2} == {
        n: text for n, text in EXPECTED.items() if n != 2
    }
    assert len(fake.requests) == 5 + 3


@pytest.mark.parametrize("fault", ["429", "503", "drop", "malformed", "400"])
def test_after_failures_in_a_row_no_more_is_sent(server, fault: str) -> None:
    fake = server(faults=[fault] * 999)
    served = model(fake, concurrency=4, retries=1, give_up_after=3)
    with pytest.raises(ModelError, match="requests failed in a row, so no more are sent"):
        ask(served, PROMPTS * 20)
    # three failed; of the others that were under way none was begun again
    assert len(fake.requests) <= (3 + 4 - 1) * 2


def test_nothing_is_sent_for_a_reader_who_left(server) -> None:
    fake = server(fault_of=lambda body: "500" if body["messages"][0]["content"][-1] != "0" else "")
    served = model(fake, concurrency=2, retries=99)
    answers = served.generate_json(PROMPTS, SCHEMA, max_new_tokens=20, batch_size=1)
    next(answers)
    answers.close()
    n_sent = len(fake.requests)
    assert n_sent < 90
    time.sleep(0.1)
    assert len(fake.requests) == n_sent


@pytest.mark.parametrize(
    "rows",
    [
        [(0, [1, 2]), (0, [3, 4])],
        [(1, [1, 2]), (2, [3, 4])],
        [(0, [1, 2]), (1, [3])],
        [(0, [1, 2]), (1, ["x", 4])],
        [(0, 5), (1, 6)],
        [(0, [1, 2]), (1, [float("nan"), 4])],
        [(0, [1, 2])],
        [(None, [1, 2]), (None, [3, 4])],
    ],
)
def test_vectors_that_are_none_or_of_other_texts_are_refused(server, rows) -> None:
    data = [{"object": "embedding", "index": index, "embedding": v} for index, v in rows]
    fake = server(faults=["body " + json.dumps({"data": data})] * 99)
    with pytest.raises(ModelError, match="no answer of the OpenAI kind"):
        model(fake, retries=1).encode(["a", "b"])
    assert len(fake.requests) == 2


def test_vectors_of_several_widths_are_refused(server, monkeypatch) -> None:
    monkeypatch.setattr("hnlmrec.language.served._TEXTS_A_REQUEST", 1)
    row = '{"data": [{"object": "embedding", "index": 0, "embedding": %s}]}'
    fake = server(faults=["body " + row % vector for vector in ("[1, 2]", "[1, 2, 3]")])
    with pytest.raises(ModelError, match="several widths"):
        model(fake, concurrency=1).encode(["a", "b"])
