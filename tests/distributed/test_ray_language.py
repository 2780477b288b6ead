"""Language stages by Ray's workers: what they come to, and what a lost worker costs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnlmrec.config import RunConfig
from hnlmrec.config.engine import EngineConfig
from hnlmrec.distributed.merging import merge_shards
from hnlmrec.distributed.ray_pool import on_workers
from hnlmrec.distributed.shard_run import run_shard
from hnlmrec.distributed.shards import Shard
from hnlmrec.errors import ModelError
from hnlmrec.language import Answer
from hnlmrec.language.cache import AnswerCache
from hnlmrec.synthesis.vectors import VectorTable
from language_cases import (
    ASKING,
    PAIRWISE,
    artefacts,
    language_config,
    pipeline_of,
    reply,
)
from openai_server import FakeServer

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")
TWO = {"engine": {"name": "ray", "workers": 2}}
# of vectors of about unit size, kept in halves
ROUNDING = 2e-3


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray of two cores, for all tests of this file."""
    ray = pytest.importorskip("ray", reason="needs the ray extra")
    from hnlmrec.distributed.ray_cluster import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 2)
        with cluster(EngineConfig(name="ray", workers=2)):
            yield
    assert not ray.is_initialized()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do in this process what workers would do, one task after the other."""

    def on_workers(engine, make, args, tasks):
        return map(make(*args), tasks)

    monkeypatch.setattr("hnlmrec.distributed.ray_answers.on_workers", on_workers)
    monkeypatch.setattr("hnlmrec.distributed.ray_rows.on_workers", on_workers)


def failing(text: str) -> Callable[[int], int]:
    def do(task: int) -> int:
        raise ValueError(text)

    return do


def test_an_error_of_a_worker_is_told_and_ends_the_stage() -> None:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.raises(ModelError, match=r"a worker failed: .*no such thing"):
        list(on_workers(EngineConfig(workers=1), failing, ("no such thing",), range(2)))


def test_a_worker_that_is_killed_costs_its_questions_only(
    alone: Path, run: Path, small_data: Path, tiny_model: Path, server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config = language_config(small_data, tiny_model, run, server.url, **TWO)
    shutil.rmtree(run / "profile")
    before, killed = len(server.requests), []

    def deadly(messages: list[dict[str, str]]) -> str:
        if len(server.requests) == before + 30:
            killed.append(our_workers()[0])
            os.kill(killed[0], signal.SIGKILL)
        return reply(messages)

    monkeypatch.setattr(server, "reply", deadly)
    pipeline_of(config)[0].run(["profile"])
    assert killed
    assert artefacts(run, "profile") == artefacts(alone, "profile")
    asked, needed = len(server.requests) - before, read_usage(alone, "profile")["asked"]
    # of a worker no more than the block that it does can be lost
    block = 8 * 2
    assert needed <= asked <= needed + 2 * block


def test_workers_compute_the_vectors_of_one_process(
    alone: Path, run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url, **TWO)
    shutil.rmtree(run / "finetune")
    pipeline_of(config)[0].run(["finetune"])
    for name in ("item_states", "user_states"):
        same(run / "finetune" / name, alone / "finetune" / name)


@pytest.mark.usefixtures("here")
def test_all_that_is_asked_is_asked_once_and_gives_the_same(
    alone: Path, run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url, **TWO)
    for stage in ASKING:
        shutil.rmtree(run / stage)
    before = len(server.requests)
    pipeline_of(config)[0].run(ASKING)
    usages = [read_usage(run, stage) for stage in ASKING]
    for stage, usage in zip(ASKING, usages, strict=True):
        assert artefacts(run, stage) == artefacts(alone, stage)
        assert usage == read_usage(alone, stage)
    asked = len(server.requests) - before
    assert asked == sum(usage["asked"] for usage in usages)
    # everything is known now
    shutil.rmtree(run / "profile")
    pipeline_of(config)[0].run(["profile"])
    assert len(server.requests) == before + asked


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_local_model_writes_the_same_by_workers_and_in_shards(
    small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    local = {"profile": {"generator": "template", "model": None, "max_fallback_share": 1}}

    def config(name: str, **changes: Any) -> RunConfig:
        return language_config(small_data, tiny_model, tmp_path / name, "", **local, **changes)

    pipeline_of(config("alone"))[0].run(["pick"])
    pipeline_of(config("ray", **TWO))[0].run(["pick"])
    pipeline, _ = pipeline_of(config("shards"))
    pipeline.run(["profile", "pretrain"])
    for number in (1, 2):
        run_shard(pipeline_of(config("shards"), claim=False)[0], "pick", Shard(number, 2))
    merge_shards(pipeline)
    pipeline.run(["pick"])
    # a random model picks nobody's favourite, so see what it wrote
    answers = [answers_of(tmp_path / f"{name}.sqlite") for name in ("alone", "ray", "shards")]
    assert len(answers[0]) > 12
    assert answers[0] == answers[1] == answers[2]
    whole = artefacts(tmp_path / "alone", "pick")
    assert artefacts(tmp_path / "ray", "pick") == whole
    assert artefacts(tmp_path / "shards", "pick") == whole


@pytest.mark.usefixtures("here")
def test_what_came_before_an_end_is_kept(
    alone: Path, run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url, **TWO)
    shutil.rmtree(run / "profile")
    needed = read_usage(alone, "profile")["asked"]
    server.dies_after = len(server.requests) + 40
    with pytest.raises(ModelError, match=r"40 new answers are kept in .*run\.sqlite"):
        pipeline_of(config)[0].run(["profile"])
    server.dies_after = float("inf")
    began = len(server.requests)
    pipeline_of(config)[0].run(["profile"])
    # not even the first answer is asked for again where its repair is missing
    assert len(server.requests) - began == needed - 40
    assert artefacts(run, "profile") == artefacts(alone, "profile")


@pytest.mark.usefixtures("here")
def test_questions_without_an_answer_are_not_asked_by_the_stage_again(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url, **TWO)
    shutil.rmtree(run / "pick")
    # a refusal of one question, of a server that has answered others
    server.faults = ["", "", "400", "", ""]
    before = len(server.requests)
    pipeline_of(config)[0].run(["pick"])
    report = json.loads((run / "pick" / "report.json").read_bytes())
    assert report["usage"]["failed"] == 1
    assert report["picked"] == 11
    assert len(server.requests) - before == report["usage"]["asked"] + 1


def test_keys_of_servers_are_not_sent_to_workers(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import ray

    key = "sk-" + "a-secret" * 4
    monkeypatch.setenv("OPENAI_API_KEY", key)
    sent: list[bytes] = []

    def seen(engine, make, args, tasks):
        sent.append(ray.cloudpickle.dumps((engine, make, args, tasks)))
        return map(make(*args), tasks)

    monkeypatch.setattr("hnlmrec.distributed.ray_answers.on_workers", seen)
    config = language_config(small_data, tiny_model, run, server.url, **TWO)
    shutil.rmtree(run / "pick")
    Path(config.language.answers).unlink(missing_ok=True)
    pipeline_of(config)[0].run(["pick"])
    # whoever asks has read it where it runs
    assert key in server.headers[-1]["authorization"]
    assert len(sent) == 1
    assert key.encode() not in sent[0]


@pytest.mark.usefixtures("here")
def test_workers_that_write_nothing_of_use_are_stopped(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    few = {**TWO, "profile": {"max_fallback_share": 0.02}}
    config = language_config(small_data, tiny_model, run, server.url, **few)
    shutil.rmtree(run / "profile")
    with pytest.raises(ModelError, match="2 of 70 profiles have no usable answer"):
        pipeline_of(config)[0].run(["profile"])


@pytest.mark.usefixtures("here")
def test_the_vectors_of_all_stages_are_those_of_one_process(
    alone: Path, run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url, **TWO)
    pairwise = alone.with_name("pairwise")
    again = run.with_name("pairwise")
    shutil.copytree(pairwise, again)
    other = language_config(small_data, tiny_model, again, server.url, **TWO, **PAIRWISE)
    for stage in ("encode/items", "encode/users"):
        shutil.rmtree(run / stage)
    shutil.rmtree(again / "synthesize")
    pipeline_of(config)[0].run(["encode/items", "encode/users"])
    pipeline_of(other)[0].run(["synthesize"])
    for stage in ("encode/items", "encode/users"):
        assert artefacts(run, stage) == artefacts(alone, stage)
    assert artefacts(again, "synthesize") == artefacts(pairwise, "synthesize")


def test_a_run_of_one_process_imports_no_ray(
    small_data: Path, tiny_model: Path, server: FakeServer, tmp_path: Path
) -> None:
    config = language_config(small_data, tiny_model, tmp_path / "run", server.url)
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    code = (
        "import sys; from hnlmrec.cli import app\n"
        f"app(['encode', {str(tmp_path / 'config.yaml')!r}], standalone_mode=False)\n"
        "found = [name for name in sys.modules if name.split('.')[0] in ('ray', 'pyarrow')]\n"
        "found += [name for name in sys.modules if name.startswith('hnlmrec.distributed.ray')]\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_without_ray_the_extra_is_named(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, "ray", None)
    config = language_config(small_data, tiny_model, run, server.url, **TWO)
    shutil.rmtree(run / "encode" / "items")
    with pytest.raises(ModelError, match=r"hnlmrec\[ray\]"):
        pipeline_of(config)[0].run(["encode/items"])


def our_workers() -> list[int]:
    """Processes of Ray's that work for these tests."""
    ours, found = os.environ["HNLMREC_ANSWERS"].encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if command.startswith(b"ray::MapWorker") and ours in (process / "environ").read_bytes():
                found.append(int(process.name))
    return found


def read_usage(run: Path, stage: str) -> dict[str, int]:
    usage: dict[str, int] = json.loads((run / stage / "report.json").read_bytes())["usage"]
    return usage


def answers_of(path: Path) -> dict[str, Answer]:
    return {key: answer for rows in AnswerCache(path).all() for key, _, answer, _ in rows}


def same(path: Path, other: Path) -> None:
    ours, theirs = (VectorTable.open(one, note=note_of(one)) for one in (path, other))
    assert ours.coverage() == 1
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours.read_all(), theirs.read_all(), atol=ROUNDING)


def note_of(path: Path) -> str:
    note: str = json.loads(path.with_suffix(".json").read_bytes())["note"]
    return note
