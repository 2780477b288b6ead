"""Turn a .gguf file into a folder of safetensors, once: de-quantising at each load is slow."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from hnlmrec.disk import sync_file, sync_folder
from hnlmrec.errors import ModelError
from hnlmrec.language.extras import DATA_ONLY, require

_MIB = 1024 * 1024
_PREFIX, _LOCK = ".converting-", "lock"


def default_cache() -> Path:
    """``$HNLMREC_CACHE``, or ``~/.cache/hnlmrec/models``."""
    return Path(os.environ.get("HNLMREC_CACHE") or "~/.cache/hnlmrec/models").expanduser()


def convert(gguf: Path, cache: Path) -> Path:
    """De-quantise a .gguf file into ``cache`` unless that was done before, and return the folder.

    The folder holds ``config.json``, bfloat16 safetensors and the tokenizer with its chat
    template. Its name is that of the file, with the file's size and the SHA-256 of its first and
    last MiB: not of the whole, so as not to read gigabytes at each start. It appears by one
    rename when it is complete and on the disk, so converters that run at the same time do not
    disturb each other.

    Raises
    ------
    ModelError
        When the file is not a GGUF language model, packages of the ``llm`` extra are absent, or
        ``cache`` cannot be made.
    """
    folder = cache / f"{gguf.stem}-{_fingerprint(gguf)}"
    if folder.is_dir():
        return folder
    require("gguf")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(
            f"the folder for converted models cannot be made ({error})",
            where=str(cache),
            mend="set HNLMREC_CACHE to a folder that can be written to",
        ) from None
    _remove_left(cache)
    with (
        tempfile.TemporaryDirectory(dir=cache, prefix=_PREFIX) as temporary,
        FileLock(Path(temporary) / _LOCK),
    ):
        work = Path(temporary) / "model"
        _write_model(gguf, work)
        for file in work.iterdir():
            sync_file(file)
        sync_folder(work)
        try:
            work.rename(folder)
        except OSError:
            # another converter was first; its folder is as good
            if not folder.is_dir():
                raise
        sync_folder(cache)
    return folder


def _remove_left(cache: Path) -> None:
    """Remove what killed converters left: the lock of one ends with its process."""
    for left in cache.glob(f"{_PREFIX}*"):
        try:
            with FileLock(left / _LOCK, blocking=False):
                shutil.rmtree(left)
        except Timeout:
            continue


def _fingerprint(path: Path) -> str:
    """Size of a file and a hash of its ends."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_MIB))
        file.seek(max(size - _MIB, 0))
        digest.update(file.read())
    return f"{size}-{digest.hexdigest()[:16]}"


def _write_model(gguf: Path, folder: Path) -> None:
    """De-quantise with transformers and save what it read as an ordinary model."""
    transformers = require("transformers")
    source: dict[str, Any] = {
        "pretrained_model_name_or_path": str(gguf.parent),
        "gguf_file": gguf.name,
        **DATA_ONLY,
    }
    # where it knows this option, transformers may otherwise leave weights packed in their blocks
    unpack: dict[str, Any] = {}
    if hasattr(transformers, "GgufConfig"):
        unpack["quantization_config"] = transformers.GgufConfig(dequantize=True)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
        quantised = transformers.AutoModelForCausalLM.from_pretrained(
            **source, **unpack, dtype=torch.float32
        )
    except (ValueError, KeyError, IndexError, OSError, NotImplementedError) as error:
        raise ModelError(
            f"transformers cannot read this file as a GGUF language model ({error})",
            where=str(gguf),
            mend="name another model by language.model",
        ) from None
    # transformers refuses to save a model that knows it was quantised, so save a plain twin of it
    config = quantised.config
    vars(config).pop("quantization_config", None)
    config.dtype = torch.bfloat16
    with torch.device("meta"):
        plain = transformers.AutoModelForCausalLM.from_config(config)
    weights = {name: weight.bfloat16() for name, weight in quantised.state_dict().items()}
    plain.load_state_dict(weights, assign=True)
    plain.tie_weights()
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
