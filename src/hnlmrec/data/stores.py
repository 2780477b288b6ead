"""Data files in object stores and whatever else fsspec reaches: found and read like local ones."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from hnlmrec.errors import DataError

# what a store says of an object's content or age, the best first
_MARKS = (
    "ETag",
    "etag",
    "md5Hash",
    "content_md5",
    "checksum",
    "generation",
    "blob_id",
    "mtime",
    "LastModified",
    "last_modified",
    "updated",
    "modified",
    "created",
)
# a file there says where the data are, in a language of templates
_MAPS = "reference:"
# seconds before a request that failed is repeated
_PAUSES = (0.5, 2.0, 8.0)
# of such errors the next request would have the same
_LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError)
_BUFFER = 1 << 20
_SHOWN = 200  # characters of what a library says

T = TypeVar("T")


class Facts(NamedTuple):
    """What is known of an object without reading it."""

    st_size: int
    mark: str


class StorePath:
    """An object of a store, or what is above it, with as much of `pathlib.Path` as readers use.

    Parameters
    ----------
    store
        A file system of fsspec.
    path
        As that writes it, without a slash at the end.
    facts
        What a listing said of it.
    """

    def __init__(self, store: Any, path: str, facts: Facts | None = None) -> None:
        self.store = store
        self.path = path
        self._facts = facts

    def __str__(self) -> str:
        return str(self.store.unstrip_protocol(self.path))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StorePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(self.path)

    def __lt__(self, other: StorePath) -> bool:
        return self.path < other.path

    def __truediv__(self, name: str) -> StorePath:
        return StorePath(self.store, f"{self.path}/{name.rstrip('/')}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def suffix(self) -> str:
        """The ending of the name."""
        return PurePosixPath(self.path).suffix

    @property
    def suffixes(self) -> list[str]:
        """All endings of the name."""
        return PurePosixPath(self.path).suffixes

    def is_file(self) -> bool:
        """Whether there is such an object."""
        return self._ask(lambda: bool(self.store.isfile(self.path)))

    def is_dir(self) -> bool:
        """Whether there are objects below."""
        return self._ask(lambda: bool(self.store.isdir(self.path)))

    def stat(self) -> Facts:
        """Size and mark of the object."""
        return self._facts or _facts(self._ask(lambda: self.store.info(self.path)))

    def files(self, *, deep: bool) -> list[StorePath]:
        """The objects directly below, or all below."""
        depth = None if deep else 1
        return self._listed(lambda: self.store.find(self.path, maxdepth=depth, detail=True))

    def glob(self, pattern: str) -> list[StorePath]:
        """The objects below whose paths fit."""
        return self._listed(lambda: self.store.glob(f"{self.path}/{pattern}", detail=True))

    def _listed(self, request: Callable[[], dict[str, dict[str, Any]]]) -> list[StorePath]:
        found = sorted(self._ask(request).items())
        files = ((path, info) for path, info in found if info.get("type") != "directory")
        return [StorePath(self.store, path, _facts(info)) for path, info in files]

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Read it piece by piece; ``mode`` is ``"rb"``."""
        return io.BufferedReader(_Steady(self), _BUFFER)

    def write(self, content: bytes) -> None:
        """Make it an object of this content, or replace it."""
        self._ask(lambda: self.store.pipe_file(self.path, content))

    def _ask(self, request: Callable[[], T]) -> T:
        try:
            return repeated(request)
        except OSError as error:
            raise DataError(
                f"the store does not answer ({error})",
                where=str(self),
                mend="look at the address, at the network, and at the credentials that the "
                "environment holds, and run the same command again",
            ) from None


DataPath = Path | StorePath


def name_below(folder: DataPath, path: DataPath) -> str:
    """The path of a file from a folder above, with slashes."""
    if isinstance(path, Path):
        return Path(os.path.relpath(path, str(folder))).as_posix()
    assert isinstance(folder, StorePath)
    return path.path.removeprefix(folder.path).lstrip("/")


def open_store(address: str) -> StorePath:
    """Find the folder at an address such as ``s3://bucket/prefix``.

    Raises
    ------
    DataError
        As `store_at`, and when there is nothing.
    """
    folder = store_at(address)
    if not folder.is_dir():
        raise DataError("there is nothing at this address", where=address, mend="change data.path")
    return folder


def store_at(address: str) -> StorePath:
    """What is at an address, if anything is.

    Raises
    ------
    DataError
        When fsspec, or the package that it needs for such an address, is absent, or when the
        address is none.
    """
    if "::" in address or address.startswith(_MAPS):
        raise DataError(
            "an address that leads to others is not followed",
            where=address,
            mend="name the place itself",
        )
    try:
        import fsspec
    except ImportError:
        raise _missing("fsspec is not installed", address) from None
    try:
        store, path = fsspec.url_to_fs(address)
    except ImportError as error:
        raise _missing(str(error), address) from None
    except Exception as error:
        raise DataError(
            f"this is no address of a store ({_first_line(error)})",
            where=address,
            mend="write it as fsspec does, as in s3://bucket/prefix",
        ) from None
    # what was listed earlier in this process may have changed
    store.invalidate_cache()
    return StorePath(store, path.rstrip("/"))


def repeated(request: Callable[[], T]) -> T:
    """Ask until there is an answer, at most four times.

    Raises
    ------
    OSError
        When there is none.
    """
    for pause in (*_PAUSES, None):
        try:
            return request()
        except _LASTING as error:
            raise OSError(_first_line(error)) from None
        # stores raise errors of all kinds of packages
        except Exception as error:
            if pause is None:
                raise OSError(f"{_first_line(error)}; tried {len(_PAUSES) + 1} times") from None
            time.sleep(pause)
    raise AssertionError


class _Steady(io.RawIOBase):
    """Reads an object, and opens it again where a request failed."""

    def __init__(self, path: StorePath) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._file: Any = None
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = repeated(lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        super().close()

    def _read(self, n: int) -> bytes:
        try:
            if self._file is None:
                self._file = self._path.store.open(self._path.path, "rb")
            self._file.seek(self._at)
            data: bytes = self._file.read(n)
        except Exception:
            self._file = None
            raise
        return data


def _facts(info: dict[str, Any]) -> Facts:
    mark = next((info[name] for name in _MARKS if info.get(name) is not None), "")
    return Facts(int(info.get("size") or 0), str(mark))


def _missing(what: str, address: str) -> DataError:
    return DataError(
        what,
        where=address,
        mend='`pip install "hnlmrec[cloud]"`, and what such addresses need: s3fs, gcsfs or adlfs',
    )


def _first_line(error: Exception) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__)[:_SHOWN]
