"""A disk that is really full, and one that really is read-only: a small tmpfs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from synthetic import small_tree

Remount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Remount]]:
    """A file system of 200 KiB, and what changes its options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    if not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("mount")):
        pytest.skip("only root can mount a tmpfs")
    if not mount("size=200k"):
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield place, lambda options: _hold(mount(f"remount,{options}"))
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _hold(done: bool) -> None:
    assert done


def _call(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hnlmrec", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _config(data: Path, model: Path, disk: Path, folder: Path) -> Path:
    tree = small_tree(data, model, disk / "run")
    tree["models"] = {
        "dns": {},
        "noise": {
            "sampler": {"name": "semantic", "source": "noise"},
            "alignment": {"weight": 0.1, "hidden": 8},
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_a_full_disk_is_said_and_with_more_room_the_run_goes_on(
    small_data: Path, tiny_model: Path, disk: tuple[Path, Remount], tmp_path: Path
) -> None:
    place, remount = disk
    config = _config(small_data, tiny_model, place, tmp_path)
    full = 0
    for size in (48, 96, 4000):
        remount(f"size={size}k")
        done = _call("run", config)
        if done.returncode == 0:
            break
        full += 1
        assert done.returncode == 1, done.stderr
        assert done.stderr.startswith("error ")
        assert "no space is left on the disk while" in done.stderr
        assert "Traceback" not in done.stderr
    assert full == 2
    assert done.returncode == 0, done.stderr
    assert _call("verify", place / "run").returncode == 0
    assert not list((place / "run").rglob("*.partial"))


def test_a_finished_run_is_read_where_nothing_can_be_written(
    small_data: Path, tiny_model: Path, disk: tuple[Path, Remount], tmp_path: Path
) -> None:
    place, remount = disk
    remount("size=8m")
    config = _config(small_data, tiny_model, place, tmp_path)
    assert _call("train", config).returncode == 0
    remount("ro,size=8m")
    done = _call("run", config)
    assert done.returncode == 1
    assert "cannot be written here (Read-only file system)" in done.stderr
    assert "Traceback" not in done.stderr
    remount("rw,size=8m")
    assert _call("run", config).returncode == 0
    remount("ro,size=8m")
    for command in ("run", "verify"):
        done = _call(command, place / "run")
        assert done.returncode == 0, done.stderr
