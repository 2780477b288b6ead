"""Samplers, losses and backbones from outside: found by name in entry points or registered here."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from hnlmrec.errors import ConfigError

# of each group: the section of the configuration that names a plug-in of it, and how many
# arguments its factory is given before the options
GROUPS = {
    "hnlmrec.samplers": ("sampler", 1),
    "hnlmrec.losses": ("loss", 0),
    "hnlmrec.backbones": ("backbone", 5),
}
REQUIRED = inspect.Parameter.empty
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


def package_of(group: str, name: str) -> str | None:
    """The package that an installed plug-in comes from; None for one registered here."""
    if (group, name) in _REGISTERED:
        return None
    for point in entry_points(group=group, name=name):
        return point.dist.name if point.dist else point.module
    return None


def find_plugin(group: str, name: str) -> Any:
    """The factory of that name.

    Raises
    ------
    ConfigError
        If there is none, or its entry point cannot be loaded.
    """
    if (group, name) in _REGISTERED:
        return _REGISTERED[group, name]
    for point in entry_points(group=group, name=name):
        try:
            return point.load()
        except Exception as error:  # whatever a module from outside does while it is imported
            raise ConfigError(
                f"the plug-in {name!r} cannot be loaded: {type(error).__name__}: {error}",
                where=f"entry point {point.value} of {package_of(group, name)}",
                mend="mend that package or uninstall it",
            ) from error
    names = ", ".join(plugin_names(group)) or "none"
    raise ConfigError(
        f"there is no plug-in {name!r} in {group}; there are: {names}",
        where=f"{GROUPS[group][0]}.name",
        mend="install its package, or register it before it is used",
    )


def options_of(group: str, factory: Any) -> dict[str, Any]:
    """What may stand under ``options:`` for a factory, with defaults (`REQUIRED` for none)."""
    parameters = list(inspect.signature(factory).parameters.values())
    named = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    return {one.name: one.default for one in named[GROUPS[group][1] :]}


def build_plugin(group: str, name: str, given: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    """Call the factory of that name with what its group is given and the user's options.

    Only the call itself is checked: an error inside the factory is the plug-in's own.

    Raises
    ------
    ConfigError
        If there is no such factory, or it does not take these options.
    """
    factory, section = find_plugin(group, name), GROUPS[group][0]
    if not callable(factory):
        raise ConfigError(
            f"the plug-in {name!r} is a {type(factory).__name__}, not a class or function",
            where=f"{section}.name",
            mend="let its entry point name a factory, as in docs/extending.md",
        )
    try:
        inspect.signature(factory).bind(*given, **options)
    except TypeError as error:
        taken = options_of(group, factory)
        raise ConfigError(
            f"the plug-in {name!r} does not take these options: {error}",
            where=f"{section}.options",
            mend=f"it takes {', '.join(taken)}" if taken else "it takes none",
        ) from None
    return factory(*given, **options)
