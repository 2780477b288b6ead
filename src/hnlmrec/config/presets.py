"""Configurations that come with the library."""

from __future__ import annotations

from importlib import resources

from hnlmrec.config.template import template
from hnlmrec.errors import ConfigError

_FOLDER = resources.files("hnlmrec.config")
DEMO = "demo"
PRESETS = (DEMO, "paper")


def preset(name: str) -> str:
    """The text of a configuration file: ``demo``, with every key explained, or the ``paper``'s.

    Raises
    ------
    ConfigError
        When there is none of this name.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}", mend=f"there are {', '.join(PRESETS)}")
    return (
        template()
        if name == DEMO
        else (_FOLDER / f"preset_{name}.yaml").read_text(encoding="utf-8")
    )
