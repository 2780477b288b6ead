"""Reading a configuration from YAML, and saying what is wrong with one."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hnlmrec.config.losses import LOSS_NAMES
from hnlmrec.config.parsing import MAX_BYTES, parse_yaml
from hnlmrec.config.samplers import SAMPLER_NAMES
from hnlmrec.errors import ConfigError

_TAGS = {"id_based", "semantic", "plugin", *SAMPLER_NAMES, *LOSS_NAMES}
MEND = "change these keys; `hnlmrec init` writes a config with every key explained"

_SHOWN_ERRORS, _SHOWN_VALUE = 20, 200
# errors end up in logs: of an address, and names of keys that may hold what is secret
_PASSWORD = re.compile(r"//[^/@\s]*@")
_PARAMETER = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"]*")
_SECRET = re.compile(
    r"(api_?key|key|key_variable|secret\w*|token|password|passwd|authorization|headers?)$", re.I
)


def merge(base: dict[str, Any], over: dict[str, Any] | None) -> dict[str, Any]:
    """``over`` laid on ``base``, recursively, without changing either."""
    merged = dict(base)
    for key, value in (over or {}).items():
        old = merged.get(key)
        merged[key] = (
            merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def nested(key: str, value: Any) -> dict[str, Any]:
    """The tree in which ``value`` stands at a dotted key, as in ``training.lr``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    tree: dict[str, Any] = value
    return tree


def without(tree: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """A tree without what stands at some dotted keys."""
    kept = {}
    for name, value in tree.items():
        inner = [key.removeprefix(f"{name}.") for key in keys if key.startswith(f"{name}.")]
        if name not in keys:
            kept[name] = without(value, inner) if isinstance(value, dict) else value
    return kept


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a ConfigError that names the line when it is not one."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file", where=str(path), mend="`hnlmrec init` writes a config"
        ) from None
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"this is not YAML: {error}", where=str(path)) from None
    if len(content) > MAX_BYTES:
        raise ConfigError(f"the file is larger than {MAX_BYTES >> 20} MiB", where=str(path))
    tree = parse_yaml(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"expected keys and values, found a {type(tree).__name__}", where=str(path), mend=MEND
        )
    return tree


def without_password(text: str) -> str:
    """Hide the passwords and parameters that stand in addresses."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub("//***@", text))


def explain(error: ValidationError) -> str:
    """Each wrong key with its reason, one after the other."""
    lines = []
    for item in error.errors(include_url=False)[:_SHOWN_ERRORS]:
        key = _written_key(item["loc"]) or "the whole"
        reason = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            reason = "there is no such key"
        given = item.get("input")
        if _SECRET.search(key):
            shown = " (what is given is not shown)"
        elif isinstance(given, dict):
            shown = ""
        else:
            shown = f" (given: {without_password(repr(given))[:_SHOWN_VALUE]})"
        lines.append(f"{key}: {without_password(reason)}{shown}")
    if (more := error.error_count() - len(lines)) > 0:
        lines.append(f"and {more:,} more")
    return "; ".join(lines)


def _written_key(path: tuple[int | str, ...]) -> str:
    """A pydantic path as the user wrote it: without the tags of the unions."""
    kept: list[int | str] = []
    for part in path:
        # a tag stands behind the key of a union, or behind another tag; "base" is a key of one
        if kept and kept[-1] in ("sampler", "base", "loss") and part in _TAGS:
            continue
        kept.append(part)
    return ".".join(map(str, kept))
