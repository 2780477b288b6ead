from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hnlmrec.artifacts import RunFolder, content_key
from hnlmrec.cli import app
from hnlmrec.config import RunConfig
from hnlmrec.disk import sha256_of, write_atomically
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.leftovers import is_tidy, tidy
from hnlmrec.stage_records import RECORD


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


@pytest.mark.parametrize("larger", [False, True])
def test_a_changed_byte_is_found_and_where_a_file_is_too_large_by_verify_alone(
    run: RunFolder, larger: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(run, "a", "k", "hello")
    _write(run, "b", "k", "hello")
    if larger:
        monkeypatch.setattr("hnlmrec.artifacts.CHECKED_BYTES", 4)
    # looked at before, and looked at again, as it has changed
    assert run.up_to_date("a", "k")
    (run.stage("a") / "out.txt").write_text("hallo")
    assert run.up_to_date("a", "k") == larger
    lines = []
    with pytest.raises(ArtifactError, match=r"a/out\.txt"):
        lines.extend(run.verify())
    result = CliRunner().invoke(app, ["verify", str(run.path)])
    assert isinstance(result.exception, ArtifactError)
    for line in ("a: 1 files, 0.0 MB, damaged: out.txt", "b: 1 files, 0.0 MB, as written"):
        assert line in result.output


def test_a_file_is_read_once_as_long_as_it_stays_the_same(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(run, "a", "k", "hello")
    read = []
    real = sha256_of
    monkeypatch.setattr(
        "hnlmrec.artifacts.sha256_of", lambda file: (read.append(file), real(file))[1]
    )
    for _ in range(3):
        assert run.up_to_date("a", "k")
    assert read == [run.stage("a") / "out.txt"]


def test_what_a_stage_goes_on_from_is_kept_until_its_record_is_written(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("hnlmrec.artifacts.describe_files", killed)
        with pytest.raises(KilledError), run.write("a", "k", {}, {}, []) as work:
            (work / "x.checkpoint").write_text("6 hours")
    with run.write("a", "k", {}, {}, []) as work:
        assert (work / "x.checkpoint").read_text() == "6 hours"
        (work / "out.txt").write_text("done")
    assert sorted(path.name for path in run.stage("a").iterdir()) == ["out.txt", RECORD]


def test_what_kills_left_is_removed_or_named(run: RunFolder) -> None:
    _write(run, "train/a", "k", "done")
    _write(run, "b", "k", "done")
    for name in (".manifest.json.123.partial", "b/.x.9.partial", "train/a/.x.9.partial"):
        (run.path / name).write_text("half")
    # renamed away, and the power failed before the other took its place
    run.stage("b").rename(run.path / "b.old")
    (run.path / "train" / "a.old").mkdir()
    with pytest.raises(KeyboardInterrupt), run.write("train/c", "k", {}, {}, []):
        raise KeyboardInterrupt
    assert not is_tidy(run, ["b"])
    assert tidy(run) == ["train/c"]
    run.gather()
    assert is_tidy(run, ["b", "train/a"])
    assert not is_tidy(run, ["train/c"])
    assert run.up_to_date("b", "k")
    left = {path.name for path in run.path.rglob("*")}
    assert not {name for name in left if name.endswith(("partial", ".old"))} - {"c.partial"}


def test_a_run_in_a_run_is_left_alone(run: RunFolder) -> None:
    inner = RunFolder(run.path / "inner")
    inner.claim(RunConfig(), update=False)
    with pytest.raises(KeyboardInterrupt), inner.write("a", "k", {}, {}, []) as work:
        (work / ".x.9.partial").write_text("being written by another process")
        raise KeyboardInterrupt
    assert tidy(run) == []
    assert (inner.work("a") / ".x.9.partial").exists()
    assert run.finished_stages() == []


def test_a_damaged_configuration_is_said(run: RunFolder) -> None:
    for content in (b"a: [", b"\xff", b"a: \x00"):
        (run.path / "config.yaml").write_bytes(content)
        with pytest.raises(ConfigError, match=r"(?s)config\.yaml.*damaged.*delete that file"):
            run.claim(RunConfig(), update=True)


def test_a_folder_that_cannot_be_written_to_is_said(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(path: str, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("os.mkdir", forbidden)
        with pytest.raises(ArtifactError, match=r"b\.partial: stage b cannot be written here"):
            _write(run, "b", "k", "x")
    with pytest.raises(PermissionError), run.write("c", "k", {}, {}, []):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/data.csv")


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
    assert tidy(run) == []
    assert run.up_to_date("a", "k")
    assert not (run.path / "a.old").exists()
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
