"""A key is in the environment and in requests; wherever else one could look, it is not."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import os
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("openai", reason="needs the served extra")

from hnlmrec.cli import app
from hnlmrec.config import RunConfig, ServerConfig
from hnlmrec.errors import ConfigError, HnlmrecError, ModelError
from hnlmrec.language.served import ServedLanguageModel
from hnlmrec.report.write import write_report
from openai_server import serve
from synthetic import small_tree

CANARY = "sk-canary-7f3c9a51d2e84b60"
VARIABLE = "HNLMREC_TEST_KEY"
QUOTED = f"Incorrect API key provided: {CANARY}. You can find yours at the counter"
# what is tried again, and what is not
PASSING = (f"500 {QUOTED}", f"503 {QUOTED}", f"429 {QUOTED}", f"408 {QUOTED}")
BROKEN = ("drop", "cut", "malformed", "page", "empty")
FINAL = tuple(f"{status} {QUOTED}" for status in (400, 401, 403, 404, 409, 422, 429, 500))
PROMPTS = [[{"role": "user", "content": "question"}]]
SCHEMA = {"type": "object", "properties": {}}
FORMS = (
    CANARY.encode(),
    base64.b64encode(CANARY.encode())[:-3],
    base64.b64encode(b":" + CANARY.encode())[2:-3],
    CANARY[8:].encode(),
    CANARY.encode("utf-16-le"),
)


def _reply(messages: list[dict[str, str]]) -> str:
    """A profile that repeats what the server knows of its caller."""
    data = messages[-1]["content"].partition("</data>")[0]
    words = " ".join(re.findall(r"[A-Za-z]{3,}|\d+", data)[:20])
    return json.dumps({"summarization": f"{words} {CANARY}", "reasoning": f"By {CANARY}."})


def _search(folder: Path) -> list[str]:
    """Files below a folder that hold the canary in some form, compressed ones unpacked."""
    found = []
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            if file.suffix == ".parquet":
                content += str(pl.read_parquet(file).to_dicts()).encode()
            if file.suffix == ".html":
                for packed in re.findall(rb">\s*(H4sI[A-Za-z0-9+/=]+)\s*<", content):
                    content += gzip.decompress(base64.b64decode(packed))
            found += [str(file) for form in FORMS if form in content]
    return found


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    pl.DataFrame({"text": [CANARY]}).write_parquet(tmp_path / "a.parquet", compression="zstd")
    packed = base64.b64encode(gzip.compress(CANARY.encode())).decode()
    (tmp_path / "b.html").write_text(f"<p>{packed}</p>")
    (tmp_path / "c").write_bytes(b"Basic " + base64.b64encode(f":{CANARY}".encode()))
    assert {Path(name).name for name in _search(tmp_path)} == {"a.parquet", "b.html", "c"}


def _command_lines() -> str:
    """The command lines of all processes, as `ps` shows them."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended
    return "\n".join(lines)


@pytest.fixture
def tree(small_data: Path, tiny_model: Path, tmp_path: Path) -> dict[str, object]:
    tree = small_tree(small_data, tiny_model, tmp_path / "run")
    tree["language"] |= {"answers": str(tmp_path / "answers.sqlite")}
    tree["profile"] = {"generator": "llm", "model": "openai:writer"}
    return tree


def _write(tree: dict[str, object], url: str, path: Path, **server: object) -> Path:
    server = {"base_url": url, "key_variable": VARIABLE, "timeout": 5, **server}
    tree["language"]["server"] = server  # type: ignore[index]
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_whole_run_leaves_no_trace_of_the_key(tree: dict[str, object], tmp_path: Path) -> None:
    """With every fault that passes, a server that repeats the key, and logs of all libraries."""
    log = {"OPENAI_LOG": "debug", "HTTPX_LOG_LEVEL": "debug"}
    with serve(reply=_reply, faults=[*PASSING, *BROKEN]) as fake:
        config = _write(tree, fake.url, tmp_path / "run.yaml", concurrency=2)
        process = subprocess.Popen(
            [sys.executable, "-m", "hnlmrec", "run", str(config)],
            env={**os.environ, VARIABLE: CANARY, **log},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines = []
        while process.poll() is None and len(lines) < 3000:
            lines.append(_command_lines())
            time.sleep(0.2)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert fake.headers[0]["authorization"] == f"Bearer {CANARY}"  # it was used
    assert len(fake.requests) > len(PASSING) + len(BROKEN)
    said = json.loads((tmp_path / "run/profile/report.json").read_bytes())
    assert said["users"]["llm"] > 0  # what the server repeated was accepted, without the key
    assert "***" in pl.read_parquet(tmp_path / "run/profile/users.parquet")["summarization"][0]
    assert "DEBUG" in err or "[debug" in err.lower() or "Request options" in err
    for text in (out, err, *lines):
        assert not any(form.decode(errors="ignore") in text for form in FORMS[:4])
    write_report([tmp_path / "run"], tmp_path / "report", 10, "hnlmrec report")
    assert len(list(tmp_path.rglob("*.*"))) > 60
    assert _search(tmp_path) == []


@pytest.mark.parametrize("fault", [*FINAL, *BROKEN])
def test_a_run_that_fails_for_good_leaves_none(
    fault: str,
    tree: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(VARIABLE, CANARY)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    caplog.set_level(logging.DEBUG)
    with serve(faults=[fault] * 99) as fake:
        config = _write(tree, fake.url, tmp_path / "run.yaml", concurrency=2, retries=1)
        result = CliRunner().invoke(app, ["profile", str(config)])
    assert isinstance(result.exception, ModelError)
    assert fake.headers
    assert fake.headers[0]["authorization"] == f"Bearer {CANARY}"
    assert _shown(result.exception).count("***") <= 2
    for text in (result.output, _shown(result.exception), caplog.text):
        assert CANARY not in text
        assert CANARY[8:] not in text
    assert _search(tmp_path) == []


def _shown(error: BaseException) -> str:
    """A traceback with causes and contexts, as Python prints it."""
    return "".join(traceback.format_exception(error))


class _UnknownError(Exception):
    """What no one foresaw."""


@pytest.mark.parametrize("raised", [_UnknownError, ValueError, KeyError, OSError])
def test_an_exception_that_quotes_the_key_is_reworded(
    raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise raised(f"Bearer {CANARY}")

    monkeypatch.setenv(VARIABLE, CANARY)
    monkeypatch.setattr("openai.resources.chat.completions.Completions.create", failing)
    config = ServerConfig(base_url="http://127.0.0.1:9/v1", key_variable=VARIABLE, retries=1)
    served = ServedLanguageModel("m", config)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is
        list(served.generate_json(PROMPTS, SCHEMA, max_new_tokens=9, batch_size=1))
    assert CANARY not in _shown(caught.value)


@pytest.mark.parametrize("key", [f"{CANARY}\nx", f"{CANARY}\r\nX: y", f"{CANARY}é", f"{CANARY}\0"])
def test_a_key_that_no_header_holds_is_refused_unseen(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # an environment variable cannot hold NUL, but a test's dictionary can
    monkeypatch.setattr("hnlmrec.language.failure.os.environ", {VARIABLE: key})
    config = ServerConfig(base_url="http://127.0.0.1:9/v1", key_variable=VARIABLE, retries=0)
    served = ServedLanguageModel("m", config)
    with pytest.raises(ModelError, match=rf"{VARIABLE}: the key holds a character") as caught:
        list(served.generate_json(PROMPTS, SCHEMA, max_new_tokens=9, batch_size=1))
    assert CANARY not in _shown(caught.value)


def test_a_line_break_behind_the_key_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{CANARY}\n")
    with serve() as fake:
        config = ServerConfig(base_url=fake.url, key_variable=VARIABLE)
        served = ServedLanguageModel("m", config)
        list(served.generate_json(PROMPTS, SCHEMA, max_new_tokens=9, batch_size=1))
    assert fake.headers[0]["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize(
    "server",
    [
        {"api_key": CANARY},
        {"key": CANARY},
        {"token": CANARY},
        {"headers": [f"Authorization: {CANARY}"]},
        {"key_variable": CANARY},
        {"base_url": f"http://me:{CANARY}@host/v1"},
        {"base_url": f"https://host/v1?api-key={CANARY}"},
        {"base_url": f"https://host/v1?version=1&sig={CANARY}"},
    ],
)
def test_a_key_in_the_configuration_is_refused_unseen(
    server: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"language\.server") as caught:
        RunConfig.from_dict({"run": str(tmp_path / "run"), "language": {"server": server}})
    assert CANARY not in _shown(caught.value)
    (name, value), *_ = server.items()
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"run": str(tmp_path / "run")}))
    words = ["run", str(path), "--set", f"language.server.{name}={json.dumps(value)}"]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, HnlmrecError)
    assert CANARY not in result.output + _shown(result.exception)
    assert not (tmp_path / "run").exists()


def test_a_password_in_the_environment_s_address_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://me:{CANARY}@127.0.0.1:9/v1?key={CANARY}")
    monkeypatch.setenv(VARIABLE, "another")
    served = ServedLanguageModel("m", ServerConfig(key_variable=VARIABLE, retries=0))
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9") as caught:
        list(served.generate_json(PROMPTS, SCHEMA, max_new_tokens=9, batch_size=1))
    assert CANARY not in _shown(caught.value)
