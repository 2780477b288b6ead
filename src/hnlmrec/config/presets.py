"""Configurations that come with the library."""

from __future__ import annotations

from importlib import resources
from string import Template

from hnlmrec.config.template import template
from hnlmrec.errors import ConfigError

_FOLDER = resources.files("hnlmrec.config")
DEMO = "demo"
# what the paper's recipe has of its own for each of its data sets; 5 epochs are
# 5 * 0.8 * interactions / 32 steps, 80% of the interactions being for training
_TOYS = {"pairs": "160,000", "steps": "25000", "alpha": "1.0e-2", "transfer": "null"}
_RECIPES = {
    "paper": _TOYS,
    "paper-toys": _TOYS,
    "paper-cds": {**_TOYS, "pairs": "149,000", "steps": "23300"},
    "paper-yelp": {**_TOYS, "pairs": "411,000", "steps": "64200", "alpha": "1.0e-4"},
    "paper-electronics": {
        **_TOYS,
        "pairs": "143,000",
        "steps": "22300",
        "transfer": "runs/paper-toys",
    },
}
PRESETS = (DEMO, *_RECIPES)


def preset(name: str, *, data_only: bool = False) -> str:
    """The text of a configuration file.

    Parameters
    ----------
    name
        ``demo``, with every key explained; ``paper``, the paper's recipe; or one of the paper's
        data sets with that recipe.
    data_only
        Leave the paper's recipe out: its data with this library's defaults.

    Raises
    ------
    ConfigError
        When there is none of this name, or ``demo`` is asked for without its recipe.
    """
    if name not in PRESETS:
        raise ConfigError(f"there is no preset {name!r}", mend=f"there are {', '.join(PRESETS)}")
    if name == DEMO:
        if data_only:
            raise ConfigError(
                f"the preset {DEMO!r} has this library's defaults already", mend="drop --data-only"
            )
        return template()
    data = _read(f"preset_{name}.yaml")
    return (
        data
        if data_only
        else data + Template(_read("recipe_paper.yaml")).substitute(_RECIPES[name])
    )


def _read(file: str) -> str:
    return (_FOLDER / file).read_text(encoding="utf-8")
