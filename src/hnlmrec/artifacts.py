"""A run's folder: one folder a stage, written beside its place and renamed when it is whole.

A stage is up to date when its folder holds a ``stage.json`` with the key that its configuration
and its inputs give. The truth is in these files; ``manifest.json`` gathers them for readers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from polars.exceptions import PanicException, PolarsError
from safetensors import SafetensorError

from hnlmrec.config import NO_CONTENT, RunConfig
from hnlmrec.config.loading import read_yaml, without
from hnlmrec.disk import (
    remove_folder,
    replace_folder,
    sha256_of,
    sync_file,
    sync_folder,
    write_atomically,
    writing,
)
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.lock import FolderLock
from hnlmrec.measure import Meter
from hnlmrec.stage_names import ASKING
from hnlmrec.stage_records import (
    CONFIG,
    KEY,
    RECORD,
    FileRecord,
    StageRecord,
    describe_files,
    kept_to_go_on,
    read_record,
    stage_folders,
    versions,
)

# what the libraries raise that read artefacts, and a file of the right format with other contents
_UNREADABLE = (OSError, PolarsError, PanicException, SafetensorError)
_OTHER_CONTENTS = (LookupError, TypeError, ValueError)

MANIFEST = "manifest.json"
# of larger files only the size is compared at each start: `hnlmrec verify` reads them, too
CHECKED_BYTES = 2**30


class RunFolder:
    """The artefacts of one run.

    Whoever writes holds ``lock``; `up_to_date` and all that reads do without it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = FolderLock(path)
        # files whose checksum was right, and what they then looked like from outside
        self._checked: dict[Path, tuple[int, int, int]] = {}

    def stage(self, name: str) -> Path:
        """The folder of a finished stage."""
        return self.path / name

    def work(self, name: str) -> Path:
        """The folder of a stage that is not finished."""
        return self.path / f"{name}.partial"

    def record(self, name: str) -> StageRecord | None:
        """The record of a stage, or None when it never finished here."""
        return read_record(self.stage(name) / RECORD, name)

    def content(self, name: str) -> str:
        """A hash of the files of a finished stage: equal for equal files."""
        record = self._finished(name)
        return content_key({file: facts.sha256 for file, facts in record.files.items()})

    def damaged(self, name: str, *, below: int | None = None) -> list[str]:
        """Files of a finished stage that are gone or no longer what was written.

        Parameters
        ----------
        name
            Of the stage.
        below
            Compare checksums of files up to so many bytes, and once in this object's life unless
            they change; of larger ones the size. None: read all of them, now.
        """
        return [
            file
            for file, facts in self._finished(name).files.items()
            if not self._is_whole(self.stage(name) / file, facts, below)
        ]

    def verify(self) -> Iterator[str]:
        """Compare the checksums of all files of all finished stages; say of each what there is.

        Raises
        ------
        ArtifactError
            When there is no run here, or, at the end, when files are not what was written.
        """
        stages = self.finished_stages()
        if not stages:
            raise ArtifactError("no stage has finished here", where=str(self.path))
        wrong = []
        for name in stages:
            files = self._finished(name).files
            damaged = self.damaged(name)
            wrong += [f"{name}/{file}" for file in damaged]
            size = sum(facts.bytes for facts in files.values())
            found = f"damaged: {', '.join(damaged)}" if damaged else "as written"
            yield f"{name}: {len(files)} files, {size / 1e6:,.1f} MB, {found}"
        if wrong:
            raise ArtifactError(
                f"damaged since they were written: {', '.join(wrong)}",
                where=str(self.path),
                mend="delete the folders of these stages and run the command again",
            )

    def up_to_date(self, name: str, key: str) -> bool:
        """Whether the stage finished with this key and all its files are what was written.

        Of files above `CHECKED_BYTES` only the size is looked at.
        """
        record = self.record(name)
        if record is None or record.key != key:
            return False
        return not self.damaged(name, below=CHECKED_BYTES)

    def claim(self, config: RunConfig, *, update: bool) -> None:
        """Write ``config.yaml``; refuse a folder that belongs to another configuration.

        Raises
        ------
        ConfigError
            When the folder holds another configuration and ``update`` is false; it names the
            keys that differ.
        """
        if self.check(config, update=update):
            with self.lock.held(), writing(CONFIG, self.path):
                write_atomically(self.path / CONFIG, config.to_yaml().encode())

    def check(self, config: RunConfig, *, update: bool) -> bool:
        """Refuse a folder as `claim` does; whether there is anything to write."""
        theirs, ours = self._claimed(), yaml.safe_load(config.to_yaml())
        changed = list(_differences(theirs or ours, ours, NO_CONTENT))
        if changed and not update:
            raise ConfigError(
                f"the folder holds a run of another configuration, which differs in: "
                f"{'; '.join(changed[:8])}{' ...' if len(changed) > 8 else ''}",
                where=str(self.path),
                mend="name another folder by --run, or redo in this one what the change "
                "touches by --update",
            )
        # a folder that was moved, or made read-only when it was done, stays as it is
        return theirs is None or any(_differences(theirs, ours, ("run",)))

    def _claimed(self) -> dict[str, Any] | None:
        """What ``config.yaml`` says, or None when there is none."""
        file = self.path / CONFIG
        if not file.is_file():
            return None
        try:
            return _with_defaults(read_yaml(file))
        except ConfigError as error:
            raise ConfigError(
                f"the configuration of this run is damaged ({error.what})",
                where=str(file),
                mend="delete that file and run the command again: finished stages are kept",
            ) from None

    @contextmanager
    def write(
        self, name: str, key: str, section: dict[str, Any], inputs: dict[str, str], lines: list[str]
    ) -> Iterator[Path]:
        """Give a folder to write a stage into; when the block ends well it takes its place.

        An interrupted stage of the same key finds there what it had written, so it can go on.
        What the block appends to ``lines`` is kept in the record. Files that are only there to go
        on from have "checkpoint" in their names: they are removed once the record is written.
        """
        with self.lock.held(), writing(f"stage {name}", self.path):
            work = self.begin(name, key)
            meter = Meter()
            yield work
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
            _sync(work, self.path)
            write_atomically(work / RECORD, record.model_dump_json(indent=1).encode())
            self.finish(name)
            self.gather()

    def begin(self, name: str, key: str) -> Path:
        """The folder of an unfinished stage, with what was written of it under the same key."""
        work = self.work(name)
        key_file = work / KEY
        if not (key_file.is_file() and key_file.read_bytes() == key.encode()):
            remove_folder(work)
            write_atomically(key_file, key.encode())
        return work

    def finish(self, name: str) -> None:
        """Put a whole stage into its place, without what it kept to go on from."""
        for file in kept_to_go_on(self.work(name)):
            file.unlink()
        replace_folder(self.work(name), self.stage(name))

    def fallbacks(self, name: str) -> dict[str, int]:
        """How many answers of the language model a finished stage could not use, by reason."""
        file = self.stage(name) / "report.json"
        with reading("the report", file, f"hnlmrec {name}"):
            report = json.loads(file.read_bytes()) if file.is_file() else {}
        found: dict[str, int] = report.get("fallbacks", {})
        return found

    def gather(self) -> None:
        """Write ``manifest.json`` from the records of all stages."""
        text = json.dumps(self.manifest(), indent=1)
        with writing(MANIFEST, self.path):
            write_atomically(self.path / MANIFEST, text.encode())

    def finished_stages(self) -> list[str]:
        """Names of all stages that have a record here."""
        return [
            folder.relative_to(self.path).as_posix()
            for folder in stage_folders(self.path)
            if folder.suffix not in (".partial", ".old") and (folder / RECORD).is_file()
        ]

    def manifest(self) -> dict[str, Any]:
        """What ``manifest.json`` has to hold."""
        stages = {name: self._finished(name).model_dump() for name in self.finished_stages()}
        config = read_yaml(self.path / CONFIG)
        fallbacks = {name: self.fallbacks(name) for name in ASKING if name in stages}
        return {"format": 1, "config": config, "stages": stages, "fallbacks": fallbacks}

    def _finished(self, name: str) -> StageRecord:
        record = self.record(name)
        if record is None:
            raise ArtifactError(f"stage {name} has not finished", where=str(self.stage(name)))
        return record

    def _is_whole(self, file: Path, facts: FileRecord, below: int | None) -> bool:
        try:
            stat = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        if stat.st_size != facts.bytes:
            return False
        seen = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
        if below is not None and (stat.st_size > below or self._checked.get(file) == seen):
            return True
        if sha256_of(file) != facts.sha256:
            return False
        self._checked[file] = seen
        return True


@contextmanager
def reading(what: str, path: Path, command: str) -> Iterator[None]:
    """Turn a missing or damaged file into an ArtifactError that names the command to repeat."""
    try:
        yield
    except (*_UNREADABLE, *_OTHER_CONTENTS) as error:
        raise ArtifactError(
            f"{what} cannot be read ({error})", where=str(path), mend=f"run `{command}` again"
        ) from None


def content_key(*parts: Any) -> str:
    """A hash of plain values, equal for equal content."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _sync(work: Path, run: Path) -> None:
    """Bring a stage to the disk: its files, its folders, and the names of these up to the run's."""
    for path in work.rglob("*"):
        (sync_folder if path.is_dir() else sync_file)(path)
    for folder in (work, *work.parents):
        sync_folder(folder)
        if folder == run.parent:
            break


def _with_defaults(tree: dict[str, Any]) -> dict[str, Any]:
    """A saved configuration with the keys that came after it; as it is where it is none of ours."""
    try:
        return RunConfig.from_dict(tree).model_dump(mode="json")
    except ConfigError:
        return tree


def _differences(
    theirs: dict[str, Any], ours: dict[str, Any], ignored: Collection[str]
) -> Iterator[str]:
    return _differing(without(theirs, ignored), without(ours, ignored))


def _differing(theirs: Any, ours: Any, key: str = "") -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for name in sorted(theirs.keys() | ours.keys()):
            inner = f"{key}.{name}" if key else str(name)
            yield from _differing(theirs.get(name), ours.get(name), inner)
    elif theirs != ours:
        yield f"{key} (there: {theirs!r}, now: {ours!r})"
