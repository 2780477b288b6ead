"""What outside of a run decides what its stages write: when it changes, so do their keys."""

from __future__ import annotations

from pathlib import Path

from hnlmrec.config import DataConfig, PrivacyConfig
from hnlmrec.data.embedded import locate as locate_data
from hnlmrec.data.pseudonyms import fingerprint, user_secret
from hnlmrec.data.readers.files import source_files as files_of
from hnlmrec.data.stores import DataPath, StorePath
from hnlmrec.stage_names import FINETUNE


def source_files(config: DataConfig) -> list[tuple[str, int, int | str]]:
    """Name, size and age of the files data is read from: new files, new run.

    Of a file in a store the age is what that tells of it: a checksum, a version, or a time.
    """
    files = files_of(locate_data(config.path), config).items()
    return [(name, path.stat().st_size, _age(path)) for name, path in files]


def _age(path: DataPath) -> int | str:
    return path.stat().mark if isinstance(path, StorePath) else path.stat().st_mtime_ns


def user_hashes(config: PrivacyConfig) -> dict[str, str]:
    """Which secret users' ids are hashed with; nothing where they are not."""
    secret = user_secret(config)
    return {} if secret is None else {"users_hashed_by": fingerprint(secret)}


def adapter_file(run: Path | None) -> tuple[int, int] | None:
    """Size and modification time of what another run fine-tuned."""
    file = None if run is None else run / FINETUNE / "adapter.safetensors"
    # the stage itself says what is wrong with one that is not there
    return (file.stat().st_size, file.stat().st_mtime_ns) if file and file.is_file() else None


def wording_texts(*files: Path | None) -> list[str | None]:
    """The files that replace the wording of questions, as they are now."""
    # the stage itself says what is wrong with one that is not there
    return [file.read_text("utf-8") if file and file.is_file() else None for file in files]
