"""What a finished stage was made from, and what its files then were."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, field_validator

from hnlmrec.disk import sha256_of
from hnlmrec.errors import ArtifactError
from hnlmrec.paths import stays_inside

RECORD, KEY, CONFIG = "stage.json", "key", "config.yaml"
_PACKAGES = ("hnlmrec", "torch", "numpy", "scipy", "polars", "transformers", "peft")


class FileRecord(BaseModel):
    """Size and content hash of one written file."""

    bytes: int
    sha256: str


class StageRecord(BaseModel):
    """What a finished stage was made from, and what it cost."""

    stage: str
    key: str
    section: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    seconds: float
    peak_memory_mib: float
    finished: str
    files: dict[str, FileRecord]
    lines: list[str]

    @field_validator("files")
    @classmethod
    def _files_are_the_stage_s(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in files:
            if not stays_inside(Path(), name):
                raise ValueError(f"{name!r} lies outside of the stage's folder")
        return files


def read_record(file: Path, name: str) -> StageRecord | None:
    """Read a record; None when there is none.

    Raises
    ------
    ArtifactError
        When it is damaged.
    """
    try:
        return StageRecord.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise ArtifactError(
            f"the record of stage {name} is damaged ({error})",
            where=str(file),
            mend="delete that folder and run the command again",
        ) from None


def describe_files(folder: Path) -> dict[str, FileRecord]:
    """Size and SHA-256 of every file of a stage, by relative path; not what it goes on from."""
    found = {}
    unwanted = kept_to_go_on(folder)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if file not in unwanted and file != folder / RECORD:
            found[file.relative_to(folder).as_posix()] = FileRecord(
                bytes=file.stat().st_size, sha256=sha256_of(file)
            )
    return found


def kept_to_go_on(work: Path) -> list[Path]:
    """Files of an unfinished stage that it goes on from, and that it has no use for later."""
    return [file for file in work.iterdir() if file.name == KEY or "checkpoint" in file.name]


def places(run: Path) -> list[Path]:
    """The folder of a run and those in it that are not runs of their own."""
    return [run, *(path for path in run.glob("*/") if not (path / CONFIG).is_file())]


def stage_folders(run: Path, suffix: str = "") -> list[Path]:
    """Where stages may be, as in ``prepare`` and ``train/dns-seed0``; by the end of the name."""
    outer = places(run)[1:]
    inner = [path for place in outer for path in place.glob("*/")]
    return sorted(path for path in (*outer, *inner) if path.name.endswith(suffix))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results, where installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
