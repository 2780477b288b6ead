"""What tests of several processes share."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from language_cases import ASKING, ENCODING, PAIRWISE, language_config, pipeline_of, reply
from openai_server import FakeServer, serve


@pytest.fixture
def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def server() -> Iterator[FakeServer]:
    pytest.importorskip("openai", reason="needs the served extra")
    with serve(reply=reply) as fake:
        yield fake


@pytest.fixture(scope="session")
def alone(small_data: Path, tiny_model: Path, server, tmp_path_factory) -> Path:
    """A run in one process, of both ways of synthesis."""
    run = tmp_path_factory.mktemp("alone") / "run"
    pipeline_of(language_config(small_data, tiny_model, run, server.url))[0].run(
        [*ASKING, *ENCODING, "finetune"]
    )
    pairwise = run.with_name("pairwise")
    shutil.copytree(run, pairwise)
    config = language_config(small_data, tiny_model, pairwise, server.url, **PAIRWISE)
    shutil.copy(run.with_name("run.sqlite"), config.language.answers)
    pipeline_of(config, update=True)[0].run(["synthesize"])
    return run


@pytest.fixture
def run(alone: Path, tmp_path: Path) -> Path:
    """A copy of the run in one process, from which a test deletes what it does itself."""
    shutil.copytree(alone, tmp_path / "run")
    return tmp_path / "run"
