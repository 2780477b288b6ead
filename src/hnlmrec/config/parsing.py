"""YAML of any origin: read within limits, and what is wrong with it in words."""

from __future__ import annotations

from typing import Any

import yaml

from hnlmrec.errors import ConfigError

# bytes of a file; values in it, with what aliases repeat; and how deep they may be nested
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 1 << 20, 100_000, 50
# keys of a mapping that merges others by ``<<``, and how many it merges
_MAX_KEYS, _MAX_MERGED = 1_000, 10
_SHOWN = 300  # characters of what PyYAML says
# what PyYAML lets through where a value that is tagged as a date, number or truth is none
_NOT_OF_ITS_TAG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses the few lines of ``<<`` that stand for billions of keys."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        merged = [value for key, value in node.value if key.value == "<<"]
        if any(isinstance(m, yaml.SequenceNode) and len(m.value) > _MAX_MERGED for m in merged):
            raise yaml.YAMLError(f"more than {_MAX_MERGED} mappings are merged at once")
        super().flatten_mapping(node)
        if merged and len(node.value) > _MAX_KEYS:
            raise yaml.YAMLError(f"more than {_MAX_KEYS:,} keys are merged")


def parse_yaml(text: str, where: str) -> Any:
    """The value that a YAML text holds.

    Raises
    ------
    ConfigError
        When it is no YAML, or more, deeper or otherwise than a configuration can be.
    """
    try:
        tree = yaml.load(text, _Loader)
    except RecursionError:
        raise ConfigError("the values are nested too deeply", where=where) from None
    except (yaml.YAMLError, *_NOT_OF_ITS_TAG) as error:
        raise ConfigError(f"this is not YAML: {str(error)[:_SHOWN]}", where=where) from None
    _check(tree, where)
    return tree


def _check(tree: Any, where: str) -> None:
    """Look at every value as often as it is repeated."""
    rest, n_values = [(tree, 0)], 0
    while rest:
        value, depth = rest.pop()
        n_values += 1
        if n_values > MAX_VALUES or depth > MAX_DEPTH:
            raise ConfigError(
                f"these are more than {MAX_VALUES:,} values or nested more than {MAX_DEPTH} deep",
                where=where,
                mend="write out what aliases (*name) repeat",
            )
        if isinstance(value, dict):
            rest += ((part, depth + 1) for pair in value.items() for part in pair)
        elif isinstance(value, list | tuple | set):
            rest += ((part, depth + 1) for part in value)
        elif isinstance(value, str) and ("\0" in value or not _is_encodable(value)):
            raise ConfigError(f"{value[:40]!r} is no text that a file can hold", where=where)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
