"""One writer a folder: a lock of the operating system's, which ends with its process."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from hnlmrec.disk import write_atomically, writing
from hnlmrec.errors import ArtifactError

LOCK = ".lock"
_HOLDER = ".lock.holder"


class FolderLock:
    """The right to write into a folder.

    The kernel takes the lock back when its process ends, however it ends, so a kill leaves none
    behind and no clock has a part in it. ``.lock`` stays in the folder and says nothing by itself;
    ``.lock.holder`` tells others who holds it, and means nothing when nobody does.

    Parameters
    ----------
    folder
        It is made when the lock is first held.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK)

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the lock; within a block that holds it already, by the same object, do nothing.

        Yields
        ------
        bool
            Whether it was taken just now.

        Raises
        ------
        ArtifactError
            When another process, or another object of this one, holds it.
        """
        if self._lock.is_locked:
            yield False
            return
        with writing("the lock", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                raise ArtifactError(
                    f"{_holder(self.folder)} is writing into this folder",
                    where=str(self.folder),
                    mend="wait until it has ended and run the same command again, or end it; "
                    "name another folder by --run to run both at the same time",
                ) from None
        try:
            with writing("the lock", self.folder):
                write_atomically(self.folder / _HOLDER, json.dumps(_facts()).encode())
            yield True
        finally:
            # where nothing can be written any more, it names one that is gone, and nobody asks
            with suppress(OSError):
                (self.folder / _HOLDER).unlink(missing_ok=True)
            self._lock.release()


def _facts() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _holder(folder: Path) -> str:
    try:
        facts = json.loads((folder / _HOLDER).read_bytes())
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']},"
    except (OSError, ValueError, TypeError, KeyError):
        # between taking the lock and saying so
        return "another process"
