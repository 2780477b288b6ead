from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import yaml

from hnlmrec.artifacts import RECORD, RunFolder, content_key, write_atomically
from hnlmrec.config import RunConfig
from hnlmrec.errors import ArtifactError, ConfigError


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.claim(RunConfig(), update=False)
    return folder


def _write(run: RunFolder, name: str, key: str, text: str) -> None:
    with run.write(name, key, {"lr": 1}, {}, []) as work:
        (work / "out.txt").write_text(text)


def test_a_finished_stage_is_up_to_date_for_its_key_only(run: RunFolder) -> None:
    assert not run.up_to_date("train/a", "k1")
    _write(run, "train/a", "k1", "hello")
    assert run.up_to_date("train/a", "k1")
    assert not run.up_to_date("train/a", "k2")
    record = run.record("train/a")
    assert record is not None
    assert record.files["out.txt"].bytes == 5
    manifest = json.loads((run.path / "manifest.json").read_text())
    assert manifest["stages"]["train/a"]["section"] == {"lr": 1}
    assert manifest["stages"]["train/a"]["versions"]["torch"]


def test_a_stage_with_a_cut_file_is_not_up_to_date(run: RunFolder) -> None:
    _write(run, "a", "k", "hello")
    (run.stage("a") / "out.txt").write_text("he")
    assert not run.up_to_date("a", "k")


def test_an_interrupted_stage_finds_what_it_had_written(run: RunFolder) -> None:
    with pytest.raises(KeyboardInterrupt), run.write("a", "k", {}, {}, []) as work:
        (work / "half.txt").write_text("half")
        raise KeyboardInterrupt
    assert not run.up_to_date("a", "k")
    assert not run.stage("a").exists()
    with run.write("a", "k", {}, {}, []) as work:
        assert (work / "half.txt").read_text() == "half"


def test_a_partial_folder_of_another_key_is_not_used(run: RunFolder) -> None:
    with pytest.raises(KeyboardInterrupt), run.write("a", "k", {}, {}, []) as work:
        (work / "half.txt").write_text("half")
        raise KeyboardInterrupt
    with run.write("a", "other", {}, {}, []) as work:
        assert not (work / "half.txt").exists()


def test_a_failed_redo_leaves_the_old_result_whole(run: RunFolder) -> None:
    _write(run, "a", "k1", "old")
    with pytest.raises(RuntimeError), run.write("a", "k2", {}, {}, []) as work:
        (work / "out.txt").write_text("new")
        raise RuntimeError
    assert (run.stage("a") / "out.txt").read_text() == "old"
    assert run.up_to_date("a", "k1")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_kill_before_the_renaming_loses_nothing(run: RunFolder, replaced: bool) -> None:
    if replaced:
        _write(run, "a", "k0", "old")
        run.stage("a").rename(run.path / "a.old")
    _write(run, "a", "k", "done")
    run.stage("a").rename(run.path / "a.partial")
    assert (run.path / "a.partial" / RECORD).exists()
    assert run.up_to_date("a", "k")
    assert (run.stage("a") / "out.txt").read_text() == "done"


def test_no_space_left_is_said_and_finished_stages_are_kept(run: RunFolder) -> None:
    _write(run, "a", "k", "done")
    with (
        pytest.raises(ArtifactError, match="no space is left") as error,
        run.write("b", "k", {}, {}, []),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "finished stages are kept" in str(error.value)
    assert run.up_to_date("a", "k")
    assert not run.stage("b").exists()


def test_a_folder_of_another_configuration_is_refused_by_key(run: RunFolder) -> None:
    other = RunConfig.from_dict({"training": {"lr": 0.5}, "seeds": [7]})
    with pytest.raises(ConfigError) as error:
        run.claim(other, update=False)
    for part in ("training.lr (there: 0.002, now: 0.5)", "seeds", "--update", "--run"):
        assert part in str(error.value)
    run.claim(other, update=True)
    run.claim(other, update=False)


def test_whom_a_run_asks_and_when_it_stops_do_not_make_it_another(run: RunFolder) -> None:
    tree = {
        "language": {"server": {"timeout": 7, "give_up_after": 2}, "answers": "a.sqlite"},
        "profile": {"max_fallback_share": 0.5},
    }
    changed = RunConfig.from_dict(tree)
    run.claim(changed, update=False)
    assert RunConfig.from_yaml(run.path / "config.yaml") == changed
    # one that an older version wrote lacks some of these keys
    old = changed.model_dump(mode="json")
    del old["profile"]["max_fallback_share"], old["language"]["server"]
    (run.path / "config.yaml").write_text(yaml.safe_dump(old))
    run.claim(changed, update=False)


def test_a_damaged_record_says_which_file(run: RunFolder) -> None:
    _write(run, "a", "k", "x")
    (run.stage("a") / RECORD).write_text("{")
    with pytest.raises(ArtifactError, match=r"stage\.json"):
        run.up_to_date("a", "k")


def test_atomic_write_leaves_the_old_content_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_content_key_depends_on_values_and_not_on_order_of_keys() -> None:
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})
