"""Samplers, losses and backbones from outside: found by name in entry points or registered here."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

GROUPS = ("hnlmrec.samplers", "hnlmrec.losses", "hnlmrec.backbones")
_REGISTERED: dict[tuple[str, str], Any] = {}


def register(group: str, name: str, factory: Any) -> None:
    """Make ``factory`` known under ``name`` in this process, as an entry point would.

    Parameters
    ----------
    group
        One of ``hnlmrec.samplers``, ``hnlmrec.losses``, ``hnlmrec.backbones``.
    name
        What a configuration calls it.
    factory
        A class or function; docs/extending.md says what it is called with.

    Raises
    ------
    ValueError
        If there is no such group.
    """
    if group not in GROUPS:
        raise ValueError(f"there is no group {group!r}; the groups are {', '.join(GROUPS)}")
    _REGISTERED[group, name] = factory


def plugin_names(group: str) -> list[str]:
    """Names of what is registered or installed in a group, sorted."""
    registered = {name for of, name in _REGISTERED if of == group}
    return sorted(registered | {point.name for point in entry_points(group=group)})


def find_plugin(group: str, name: str) -> Any:
    """The factory of that name; a `KeyError` when there is none."""
    if (group, name) in _REGISTERED:
        return _REGISTERED[group, name]
    for point in entry_points(group=group, name=name):
        return point.load()
    raise KeyError(name)
