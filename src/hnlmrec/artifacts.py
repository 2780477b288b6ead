"""A run's folder: one folder a stage, written beside its place and renamed when it is whole.

A stage is up to date when its folder holds a ``stage.json`` with the key that its configuration
and its inputs give. The truth is in these files; ``manifest.json`` gathers them for readers.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from polars.exceptions import PanicException, PolarsError
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError

from hnlmrec.config import RunConfig
from hnlmrec.config.loading import read_yaml
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.measure import Meter

RECORD = "stage.json"
# keys that tell no run from another: where it is, and whether flaws in the data stop it
_SAME_RUN = ("run", "data.strict")
# what the libraries raise that read artefacts
_UNREADABLE = (OSError, PolarsError, PanicException, SafetensorError)
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


class RunFolder:
    """The artefacts of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def stage(self, name: str) -> Path:
        """The folder of a finished stage."""
        return self.path / name

    def record(self, name: str) -> StageRecord | None:
        """The record of a stage, or None when it never finished here."""
        try:
            return StageRecord.model_validate_json((self.stage(name) / RECORD).read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            raise ArtifactError(
                f"the record of stage {name} is damaged ({error})",
                where=str(self.stage(name) / RECORD),
                mend="delete that folder and run the command again",
            ) from None

    def content(self, name: str) -> str:
        """A hash of the files of a finished stage: equal for equal files."""
        record = self.record(name)
        if record is None:
            raise ArtifactError(f"stage {name} has not finished", where=str(self.stage(name)))
        return content_key({file: facts.sha256 for file, facts in record.files.items()})

    def damaged(self, name: str) -> list[str]:
        """Files of a finished stage that are gone or no longer what was written."""
        record = self.record(name)
        if record is None:
            raise ArtifactError(f"stage {name} has not finished", where=str(self.stage(name)))
        return [
            file
            for file, facts in record.files.items()
            if not (self.stage(name) / file).is_file()
            or _sha256(self.stage(name) / file) != facts.sha256
        ]

    def up_to_date(self, name: str, key: str) -> bool:
        """Whether the stage finished with this key and all its files are there in full size."""
        work = self.stage(name).with_name(f"{self.stage(name).name}.partial")
        if (work / RECORD).is_file():
            # the record is written last: a kill came between it and the renaming
            _replace_folder(work, self.stage(name))
        record = self.record(name)
        return (
            record is not None
            and record.key == key
            and all(
                (self.stage(name) / file).is_file()
                and (self.stage(name) / file).stat().st_size == facts.bytes
                for file, facts in record.files.items()
            )
        )

    def claim(self, config: RunConfig, *, update: bool) -> None:
        """Write ``config.yaml``; refuse a folder that belongs to another configuration.

        Raises
        ------
        ConfigError
            When the folder holds another configuration and ``update`` is false; it names the
            keys that differ.
        """
        file = self.path / "config.yaml"
        text = config.to_yaml()
        if file.exists() and not update:
            try:
                theirs = read_yaml(file)
            except ConfigError as error:
                raise ConfigError(
                    f"the configuration of this run is damaged ({error.what})",
                    where=str(file),
                    mend="delete that file and run the command again: finished stages are kept",
                ) from None
            changed = list(_differences(_with_defaults(theirs), yaml.safe_load(text)))
            if changed:
                raise ConfigError(
                    f"the folder holds a run of another configuration, which differs in: "
                    f"{'; '.join(changed[:8])}{' ...' if len(changed) > 8 else ''}",
                    where=str(self.path),
                    mend="name another folder by --run, or redo in this one what the change "
                    "touches by --update",
                )
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text.encode())

    @contextmanager
    def write(
        self, name: str, key: str, section: dict[str, Any], inputs: dict[str, str], lines: list[str]
    ) -> Iterator[Path]:
        """Give a folder to write a stage into; when the block ends well it takes its place.

        An interrupted stage of the same key finds there what it had written, so it can go on.
        What the block appends to ``lines`` is kept in the record.
        """
        final = self.stage(name)
        work = final.with_name(f"{final.name}.partial")
        key_file = work / "key"
        if not (key_file.is_file() and key_file.read_text() == key):
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            key_file.write_text(key)
        meter = Meter()
        try:
            yield work
            key_file.unlink()
            record = StageRecord(
                stage=name,
                key=key,
                section=section,
                inputs=inputs,
                versions=versions(),
                seconds=round(meter.seconds(), 3),
                peak_memory_mib=round(meter.peak_memory_mib(), 1),
                finished=datetime.now(UTC).isoformat(timespec="seconds"),
                files=describe_files(work),
                lines=lines,
            )
            write_atomically(work / RECORD, record.model_dump_json(indent=1).encode())
            _replace_folder(work, final)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise ArtifactError(
                f"no space is left on the disk while stage {name} was written",
                where=str(work),
                mend="free some space and run the same command again: finished stages are kept",
            ) from None
        self.gather()

    def gather(self) -> None:
        """Write ``manifest.json`` from the records of all stages."""
        records = [json.loads(file.read_bytes()) for file in sorted(self.path.rglob(RECORD))]
        manifest = {
            "format": 1,
            "config": yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8")),
            "stages": {record["stage"]: record for record in records},
        }
        write_atomically(self.path / "manifest.json", json.dumps(manifest, indent=1).encode())


@contextmanager
def reading(what: str, path: Path, command: str) -> Iterator[None]:
    """Turn a missing or damaged file into an ArtifactError that names the command to repeat."""
    try:
        yield
    except (*_UNREADABLE, LookupError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{what} cannot be read ({error})", where=str(path), mend=f"run `{command}` again"
        ) from None


def content_key(*parts: Any) -> str:
    """A hash of plain values, equal for equal content."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results, where installed."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_files(folder: Path) -> dict[str, FileRecord]:
    """Size and SHA-256 of every file below a folder, by relative path."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        found[file.relative_to(folder).as_posix()] = FileRecord(
            bytes=file.stat().st_size, sha256=_sha256(file)
        )
    return found


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _replace_folder(work: Path, final: Path) -> None:
    old = final.with_name(final.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    work.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _with_defaults(tree: Any) -> Any:
    """The configuration of a run, with the defaults of keys that are newer than the run."""
    try:
        return yaml.safe_load(RunConfig.from_dict(tree).to_yaml())
    except ConfigError:
        return tree


def _differences(theirs: Any, ours: Any, key: str = "") -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(theirs.keys() | ours.keys()):
            inner = f"{key}.{name}" if key else str(name)
            yield from _differences(theirs.get(name), ours.get(name), inner)
    elif theirs != ours and key not in _SAME_RUN:
        yield f"{key} (there: {theirs!r}, now: {ours!r})"
