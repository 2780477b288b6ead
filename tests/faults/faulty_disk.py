"""File operations of this process that are counted, kept in a journal, and end at the n-th."""

from __future__ import annotations

import builtins
import errno
import hashlib
import io
import json
import os
import signal
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

# dies; from then on there is no space, or nothing may be written; loses what was not synced
Fault = Literal["none", "kill", "full", "forbidden"]
_TAKES_SPACE = {"open", "write_parquet", "mkdir", "fsync", "posix_fallocate"}
_NEEDS_LEAVE = {"open", "write_parquet", "mkdir", "replace", "rename", "unlink", "rmdir"}


class FaultyDisk:
    """Stands between this process and one folder, until the process ends.

    Parameters
    ----------
    folder
        Only what happens below it counts.
    journal
        A file that gets a JSON line before each operation, and one after those that a power loss
        may undo or cannot touch. Lives of one folder share it.
    fault, at
        What happens at which operation, from 1.
    """

    def __init__(self, folder: Path, journal: Path, fault: Fault, at: int) -> None:
        self._folder, self._fault, self._at = str(folder), fault, at
        self._saved = journal.with_suffix(".saved")
        self._saved.mkdir(exist_ok=True)
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._count = 0

    def install(self) -> None:
        """Replace the functions by which Python, numpy and polars change files."""
        for name in ("mkdir", "unlink", "remove", "rmdir"):
            setattr(os, name, partial(self._by_path, name.replace("remove", "unlink"),
                                      getattr(os, name)))  # fmt: skip
        for name in ("replace", "rename"):
            setattr(os, name, partial(self._rename, name, getattr(os, name)))
        os.fsync = partial(self._fsync, os.fsync)
        os.posix_fallocate = partial(self._fallocate, os.posix_fallocate)
        io.open = builtins.open = partial(self._open, builtins.open)
        flush, write_parquet = np.memmap.flush, pl.DataFrame.write_parquet
        np.memmap.flush = lambda array: self._flush(flush, array)
        pl.DataFrame.write_parquet = lambda frame, file: self._parquet(write_parquet, frame, file)

    def _by_path(self, name: str, function: Callable[..., Any], path: Any, *args: Any,
                 dir_fd: int | None = None, **options: Any) -> Any:  # fmt: skip
        whole = path if dir_fd is None else f"{_path_of(dir_fd)}/{path}"
        self._before(name, whole)
        return function(path, *args, dir_fd=dir_fd, **options)

    def _rename(self, name: str, function: Callable[..., Any], source: Any, to: Any) -> None:
        self._before(name, to)
        saved = None
        if self._is_here(to) and Path(to).is_file():
            saved = str(self._saved / f"{os.getpid()}-{self._count}")
            os.link(to, saved)
        function(source, to)
        if self._is_here(to):
            self._note(done="rename", source=str(source), to=str(to), saved=saved)

    def _fsync(self, function: Callable[[int], None], number: int) -> None:
        path = _path_of(number)
        if self._is_here(path) and not stat.S_ISDIR(os.fstat(number).st_mode):
            self._before("fsync", path)
            self._note_content(path)
        elif self._is_here(path) or str(Path(self._folder).parent) == path:
            self._before("fsync", path)
            self._note(done="names", folder=path)
        function(number)

    def _fallocate(self, function: Callable[..., None], number: int, *args: int) -> None:
        self._before("posix_fallocate", _path_of(number))
        function(number, *args)

    def _open(self, function: Callable[..., Any], file: Any, mode: str = "r", *args: Any,
              **options: Any) -> Any:  # fmt: skip
        if set(mode) & set("wax+"):
            self._before("open", file)
        return function(file, mode, *args, **options)

    def _flush(self, function: Callable[[Any], None], array: np.memmap[Any, Any]) -> None:
        self._before("flush", array.filename)
        function(array)
        if self._is_here(array.filename):
            self._note_content(str(array.filename))

    def _parquet(self, function: Callable[..., None], frame: pl.DataFrame, file: Any) -> None:
        if not self._is_here(file):
            return function(frame, file)
        buffer = io.BytesIO()
        function(frame, buffer)
        content = buffer.getvalue()
        if self._fault == "kill" and self._count + 1 == self._at:
            with io.FileIO(file, "wb") as stream:
                stream.write(content[: len(content) // 2])
        self._before("write_parquet", file)
        with io.FileIO(file, "wb") as stream:
            stream.write(content)
        return None

    def _before(self, name: str, path: Any) -> None:
        if not self._is_here(path):
            return
        self._count += 1
        self._note(operation=name, path=str(path))
        if self._fault == "kill" and self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._count < self._at:
            return
        if self._fault == "full" and name in _TAKES_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._fault == "forbidden" and name in _NEEDS_LEAVE:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def _is_here(self, path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and (
            os.fspath(path) == self._folder or os.fspath(path).startswith(f"{self._folder}/")
        )

    def _note_content(self, path: str) -> None:
        with io.FileIO(path) as stream:
            content = stream.readall()
        inode = Path(path).stat().st_ino
        sha256 = hashlib.sha256(content).hexdigest()
        self._note(done="content", inode=inode, size=len(content), sha256=sha256)

    def _note(self, **facts: Any) -> None:
        os.write(self._journal, json.dumps(facts).encode() + b"\n")


def _path_of(number: int) -> str:
    return str(Path(f"/proc/self/fd/{number}").readlink())
