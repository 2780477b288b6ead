"""Files that survive a kill and a power loss: brought to the disk before their name says so."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from polars.exceptions import PolarsError
from safetensors import SafetensorError

from hnlmrec.errors import ArtifactError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_RUST = re.compile(r"\(os error (\d+)\)")
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part.

    It is on the disk when this returns. A process killed before that may leave
    ``.NAME.PID.partial``, which `remove_partials` removes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    finally:
        # where nothing can be written any more, the error above is the one to tell
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def partials(*folders: Path) -> list[Path]:
    """What killed processes left of `write_atomically` in folders and one level below."""
    patterns = (".*.partial", "*/.*.partial")
    found = {path for folder in folders for pattern in patterns for path in folder.glob(pattern)}
    return sorted(path for path in found if path.is_file())


def remove_partials(*folders: Path) -> None:
    """Remove `partials`; the caller knows that no process is writing there."""
    for path in partials(*folders):
        path.unlink(missing_ok=True)


def replace_folder(work: Path, final: Path) -> None:
    """Put a whole folder, whose files are on the disk, into the place of another or of none.

    Killed or without power at any moment, there is ``work``, or ``final``, or both, and as long
    as there is neither name at ``final``, the former one is in ``final.old``.
    """
    old = old_of(final)
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        final.rename(old)
    work.rename(final)
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it is there; of a link the link, never what it leads to."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def old_of(final: Path) -> Path:
    """Where a folder is for the moment in which another takes its place."""
    return final.with_name(f"{final.name}.old")


def sync_file(path: Path) -> None:
    """Bring the content of a file to the disk, whoever wrote it."""
    # Windows wants a handle that may write
    with path.open("rb" if os.name == "posix" else "rb+") as stream:
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where that can be asked for (not on Windows)."""
    if os.name != "posix":
        return
    try:
        number = os.open(folder, os.O_RDONLY)
    except PermissionError:
        # a parent of the run that only lets through
        return
    try:
        os.fsync(number)
    except OSError as error:
        # some network disks do it by themselves and know no such call
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(number)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def writing(what: str, folder: Path) -> Iterator[None]:
    """Turn a full disk, and a folder that cannot be written to, into an ArtifactError.

    Parameters
    ----------
    what
        What is being written, as in "stage train/dns-seed0".
    folder
        Where. That something elsewhere may not be read or written is left as it is.
    """
    try:
        yield
    except (OSError, PolarsError, SafetensorError) as error:
        number = _error_number(error)
        if number in _FULL:
            raise ArtifactError(
                f"no space is left on the disk while {what} was written",
                where=str(folder),
                mend="free some space and run the same command again: finished stages are kept",
            ) from None
        file = getattr(error, "filename", None)
        if number in _FORBIDDEN and _is_below(file, folder):
            raise ArtifactError(
                f"{what} cannot be written here ({os.strerror(number)})",
                where=str(file),
                mend="allow writing there and run the same command again, or name another "
                "folder by --run: what is there is kept",
            ) from None
        raise


def _error_number(error: Exception) -> int:
    """The system's number of an error, which libraries in Rust write into their message; or 0."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _RUST.search(str(error))
    return int(found[1]) if found else 0


def _is_below(file: object, folder: Path) -> bool:
    return isinstance(file, str | os.PathLike) and Path(file).is_relative_to(folder)
