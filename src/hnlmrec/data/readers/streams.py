"""Opening data files: plain or gzip, with limits on what they may become."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import polars as pl

from hnlmrec.data.stores import DataPath
from hnlmrec.errors import DataError

# bytes of a line, or of a row of a table; a longer one is left out
MAX_LINE = 16 << 20
# a gzip file may become this large, and beyond that this many times as large as it is
FREE_BYTES, MAX_RATIO = 16 << 20, 200

_GZIP, _UTF8, _UTF16 = b"\x1f\x8b", b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
_BUFFER = 1 << 20


@contextmanager
def open_stream(path: DataPath) -> Iterator[io.BufferedReader[Any]]:
    """Open a file as bytes of UTF-8 text without a byte order mark.

    What is named ``.gz`` or begins like gzip is decompressed while it is read.

    Raises
    ------
    DataError
        When the file cannot be read, is damaged, is gzip within gzip or UTF-16, or grows beyond
        `FREE_BYTES` and `MAX_RATIO`.
    """
    with explained(path), path.open("rb") as file:
        zipped = path.suffix == ".gz" or file.peek(2)[:2] == _GZIP
        stream = io.BufferedReader(_Inflated(file, path), _BUFFER) if zipped else file
        start = stream.peek(len(_UTF8))
        if zipped and start[:2] == _GZIP:
            raise DataError(
                "this is gzip within gzip", where=str(path), mend="decompress it once (gunzip)"
            )
        if start[:2] in _UTF16:
            raise DataError("this is UTF-16 text", where=str(path), mend="save it as UTF-8")
        if start[:3] == _UTF8:
            stream.read(3)
        yield stream


class _Inflated(io.RawIOBase):
    """What a gzip file holds, as long as it is no bomb."""

    def __init__(self, file: BinaryIO, path: DataPath) -> None:
        self._file, self._path = file, path
        self._gzip = gzip.GzipFile(fileobj=file)
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        size = self._gzip.readinto(buffer)
        self._size += size
        # what was read of the file is at least what was decompressed of it
        if self._size > max(FREE_BYTES, MAX_RATIO * self._file.tell()):
            raise DataError(
                f"the gzip file becomes more than {MAX_RATIO} times as large as it is",
                where=str(self._path),
                mend="if it is no mistake, decompress it and name the plain file",
            )
        return size


@contextmanager
def explained(path: DataPath) -> Iterator[None]:
    """Turn what a damaged file raises into a DataError."""
    try:
        yield
    except pl.exceptions.NoDataError:
        raise DataError("the file is empty", where=str(path)) from None
    except (
        EOFError,
        zlib.error,
        OSError,
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
    ) as error:
        if path.suffix == ".gz" and isinstance(error, EOFError | zlib.error | OSError):
            what, mend = f"the gzip file is truncated or damaged ({error})", "download it again"
        else:
            reason = str(error).partition("\n")[0]
            what, mend = f"the file cannot be read ({reason})", None
        raise DataError(what, where=str(path), mend=mend) from None
