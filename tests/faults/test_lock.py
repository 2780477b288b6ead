"""Two writers of one folder: the second is refused, and a kill leaves no lock behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.errors import ArtifactError
from hnlmrec.lock import FolderLock
from hnlmrec.pipeline import Pipeline
from hnlmrec.studies import tune as study
from hnlmrec.studies.run_study import run_study
from quiet import quiet
from synthetic import small_config

_HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom hnlmrec.lock import FolderLock\n"
    "with FolderLock(Path(sys.argv[1])).held():\n"
    "    print('held', flush=True)\n    time.sleep(600)\n"
)


class _Holder:
    """Another process that holds the lock of a folder."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", _HOLD, str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def config(small_data: Path, tmp_path: Path) -> RunConfig:
    models = {"uniform": {}, "dns": {"sampler": {"name": "dns"}}}
    return small_config(small_data, Path("none"), tmp_path / "run", models=models)


@pytest.fixture
def holder(config: RunConfig):
    other = _Holder(config.run)
    yield other
    other.kill()


def test_the_second_is_refused_and_told_who_is_first(config: RunConfig, holder: _Holder) -> None:
    with pytest.raises(ArtifactError) as error:
        Pipeline(config, quiet()).run(["compare"])
    for part in (f"process {holder.process.pid} on", "since 2", str(config.run), "--run", "wait"):
        assert part in str(error.value)
    assert not (config.run / "config.yaml").exists()
    holder.kill()
    # what says who held it is still there, and no lock is
    assert (config.run / ".lock.holder").exists()
    Pipeline(config, quiet()).run(["compare"])
    assert not (config.run / ".lock.holder").exists()


def test_a_finished_run_is_read_while_another_writes(config: RunConfig) -> None:
    Pipeline(config, quiet()).run(["compare"])
    other = _Holder(config.run)
    # as while the other writes its manifest
    (config.run / "manifest.json").rename(config.run / ".manifest.json.1.partial")
    try:
        Pipeline(config, quiet()).run(["compare"])
        assert not (config.run / "manifest.json").exists()
        more = config.model_copy(update={"seeds": (0, 1)})
        with pytest.raises(ArtifactError, match="is writing into this folder"):
            Pipeline(more, quiet(), update=True)
        assert RunConfig.from_yaml(config.run / "config.yaml").seeds == (0,)
    finally:
        other.kill()
    # as after a kill
    Pipeline(config, quiet()).run(["compare"])
    assert (config.run / "manifest.json").exists()
    assert not list(config.run.rglob("*.partial"))


def test_a_configuration_that_came_in_between_is_not_written_over(config: RunConfig) -> None:
    first = Pipeline(config, quiet())
    more = config.model_copy(update={"seeds": (0, 1)})
    Pipeline(more, quiet(), update=True).run(["compare"])
    with pytest.raises(Exception, match="another configuration, which differs in: seeds"):
        first.run(["train/dns-seed0", "compare"])


def test_tuning_and_trials_are_refused_too(config: RunConfig) -> None:
    pipeline = Pipeline(config, quiet())
    other = _Holder(config.run)
    try:
        grid = study.Grid(spaces={"dns": {"sampler.top": [1, 2]}})
        with pytest.raises(ArtifactError, match="is writing into this folder"):
            next(study.tune(pipeline, grid))
    finally:
        other.kill()
    choices = study.tune(pipeline, grid)
    next(choices)
    with pytest.raises(ArtifactError, match=f"process {os.getpid()} on"):
        Pipeline(config, quiet()).run(["compare"])
    choices.close()
    Pipeline(config, quiet()).run(["compare"])


def test_a_study_locks_the_runs_that_it_shares(config: RunConfig, tmp_path: Path) -> None:
    def start() -> None:
        run_study(str(file), config, tmp_path / "s", quiet(), dataset="d", quick=True)

    file = tmp_path / "one.yaml"
    file.write_text("{title: T, claim: C, models: {dns: {}}, reference: dns, points: {a: {x: 1}}}")
    start()
    (run,) = [path for path in (tmp_path / "s" / "runs").iterdir() if path.is_dir()]
    for folder in (run, tmp_path / "s" / "one-quick"):
        other = _Holder(folder)
        try:
            with pytest.raises(ArtifactError, match=f"{folder}.*is writing into this folder"):
                start()
        finally:
            other.kill()
    start()


def test_a_lock_within_itself_is_held_once_and_ends_once(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with lock.held() as first, lock.held() as second:
        assert (first, second) == (True, False)
        with pytest.raises(ArtifactError), FolderLock(tmp_path).held():
            pass
    with FolderLock(tmp_path).held() as first:
        assert first


def test_a_holder_that_did_not_say_who_it_is(tmp_path: Path) -> None:
    with FolderLock(tmp_path).held():
        for content in (b"", b"[]", b"{}"):
            (tmp_path / ".lock.holder").write_bytes(content)
            with (
                pytest.raises(ArtifactError, match="another process is writing"),
                FolderLock(tmp_path).held(),
            ):
                pass


@pytest.mark.parametrize("seconds", [-(10**9), 10**9])
def test_clocks_that_jump_redo_nothing(
    config: RunConfig, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Pipeline(config, quiet()).run(["train/dns-seed0"])
    for path in config.run.rglob("*"):
        os.utime(path, (path.stat().st_atime + seconds, path.stat().st_mtime + seconds))
    times = {path: path.stat().st_mtime for path in config.run.rglob("*/stage.json")}
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 2 * seconds)
    Pipeline(config, quiet()).run(["compare"])
    assert times == {path: path.stat().st_mtime for path in times}
    assert len(RunFolder(config.run).finished_stages()) == 6
