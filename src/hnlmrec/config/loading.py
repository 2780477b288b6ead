"""Reading a configuration from YAML, and saying what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from hnlmrec.errors import ConfigError

MEND = "change these keys; `hnlmrec init` writes a config with every key explained"


def merge(base: dict[str, Any], over: dict[str, Any] | None) -> dict[str, Any]:
    """``over`` laid on ``base``, recursively, without changing either."""
    merged = dict(base)
    for key, value in (over or {}).items():
        old = merged.get(key)
        merged[key] = (
            merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a ConfigError that names the line when it is not one."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file", where=str(path), mend="`hnlmrec init` writes a config"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"this is not YAML: {error}", where=str(path)) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"expected keys and values, found a {type(tree).__name__}", where=str(path), mend=MEND
        )
    return tree


def explain(error: ValidationError) -> str:
    """Each wrong key with its reason, one after the other."""
    lines = []
    for item in error.errors(include_url=False):
        key = _written_key(item["loc"]) or "the whole"
        reason = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            reason = "there is no such key"
        given = item.get("input")
        shown = "" if isinstance(given, dict) else f" (given: {given!r})"
        lines.append(f"{key}: {reason}{shown}")
    return "; ".join(lines)


def _written_key(path: tuple[int | str, ...]) -> str:
    """A pydantic path as the user wrote it: without the tag behind a key that holds a union."""
    unions = ("sampler", "base")
    kept = [
        part
        for before, part in zip((None, *path), path, strict=False)
        if before not in unions or part not in ("uniform", "dns", "semantic")
    ]
    return ".".join(map(str, kept))
