"""What there is to choose from: samplers, losses, backbones and baselines.

Nothing is written twice: names and options come from the sections of the configuration, papers
from the docstrings of the classes that those names build.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
import torch
import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from hnlmrec.alignment import TextAlignment
from hnlmrec.backbones import BACKBONES
from hnlmrec.baselines import BASELINES
from hnlmrec.config import (
    BackboneConfig,
    BaselineConfig,
    BaseSamplerConfig,
    LossConfig,
    SemanticConfig,
)
from hnlmrec.config.losses import LossPlugin
from hnlmrec.config.models import BACKBONE_PLUGINS, TEXT_BACKBONES
from hnlmrec.config.samplers import MeaningConfig, SamplerPlugin
from hnlmrec.config.section import PluginSection
from hnlmrec.config.template import sections
from hnlmrec.errors import ConfigError
from hnlmrec.losses import LOSSES
from hnlmrec.negatives import SAMPLERS, Meaning, SamplerSetting, Uninteracted
from hnlmrec.negatives.semantic import Semantic
from hnlmrec.plugins import REQUIRED, find_plugin, options_of, package_of, plugin_names

_WIDTH = 100
_NO_BREAK = "\N{NO-BREAK SPACE}"
# AUTHORS, "TITLE", VENUE YEAR; the title may be missing
_CITATION = re.compile(
    r'([A-Z]\w+(?:, [A-Z]\w+)*(?: et al\.| and [A-Z]\w+)),(?: "[^"]+",)? ((?:[A-Z]\w+ )?\d{4})\b'
)
# sections that are chosen by a name
_NAMED = ("baseline", "backbone")
_ARXIV = re.compile(r"arXiv \d{4}\.\d{5}")


@dataclass(frozen=True)
class Entry:
    """One thing to choose.

    Parameters
    ----------
    name
        What a configuration calls it.
    summary
        What it is, in a sentence.
    paper
        Authors, venue and year; empty when its docstring names none.
    options
        Its keys with their defaults.
    plugin
        Where it comes from; empty for what is built in.
    section
        The section of a model that it stands in, where those of a list differ.
    """

    name: str
    summary: str
    paper: str
    options: Mapping[str, Any]
    plugin: str = ""
    section: str = ""


def samplers() -> list[Entry]:
    """All samplers, HNLMRec's own last of those built in."""
    setting = SamplerSetting(
        Uninteracted(_smallest()), 1, np.ones(2, dtype=np.int64), 2, 1, torch.Generator()
    )
    entries = [
        _entry(kind, type(SAMPLERS[kind.model_fields["name"].default](kind(), setting)))
        for kind in sections(BaseSamplerConfig)
        if not issubclass(kind, PluginSection)
    ]
    entries.append(_entry(SemanticConfig, Semantic))
    return entries + _plugins(SamplerPlugin.group, _beside_options(SamplerPlugin), entries)


def losses() -> list[Entry]:
    """All ranking losses."""
    entries = [
        _entry(kind, type(LOSSES[kind.model_fields["name"].default](kind(), 1)))
        for kind in sections(LossConfig)
        if not issubclass(kind, PluginSection)
    ]
    return entries + _plugins(LossPlugin.group, _beside_options(LossPlugin), entries)


def backbones() -> list[Entry]:
    """All backbones, each with the keys of their common section that it reads."""
    entries = []
    for name, build in BACKBONES.items():
        section = _Recorder(BackboneConfig(name=name))
        config = cast(BackboneConfig, section)
        built = build(config, _smallest(), torch.Generator(), "cpu", torch.eye(2))
        text = type(built).__doc__
        entries.append(Entry(name, _summary(text), paper(text), section.in_order()))
    defaults = _defaults(BackboneConfig)
    given = {key: defaults[key] for key in ("dim", "layers")}
    return entries + _plugins(BACKBONE_PLUGINS, given, entries)


def baselines() -> list[Entry]:
    """What else may learn from texts, by the section that chooses it."""
    built = cast(Mapping[str, type], BASELINES)
    entries = [
        replace(_entry(kind, built[kind.model_fields["name"].default]), section="baseline")
        for kind in sections(BaselineConfig)
    ]
    for one in backbones():
        if one.name in TEXT_BACKBONES:
            entries.append(replace(one, section="backbone"))
    filtering = Entry(
        "meaning",
        _summary(MeaningConfig.__doc__),
        paper(Meaning.__doc__),
        {"name": "dns", "meaning": _defaults(MeaningConfig)},
        section="sampler",
    )
    aligned = Entry(
        "alignment", _summary(TextAlignment.__doc__), "", {"weight": 0.01}, section="alignment"
    )
    return [*entries, filtering, aligned]


LISTS: dict[str, tuple[Callable[[], list[Entry]], str]] = {
    "samplers": (samplers, "sampler"),
    "losses": (losses, "loss"),
    "backbones": (backbones, "backbone"),
    "baselines": (baselines, "baseline"),
}


def print_list(kind: str, console: Console) -> None:
    """Print what there is of a kind: name and summary, and below them paper and options.

    Parameters
    ----------
    kind
        A key of `LISTS`.
    console
        Where to; not more than 100 columns of it are used.
    """
    entries, section = LISTS[kind]
    found = entries()
    indent = max(len(entry.name) for entry in found) + 2
    width = min(console.width, _WIDTH) - indent
    for entry in found:
        summary, details = _wrapped(entry.summary, width), _wrapped(_details(entry), width)
        text = Text(entry.name.ljust(indent), style="bold")
        text.append(f"\n{' ' * indent}".join(summary), style="not bold")
        for line in details:
            text.append(f"\n{' ' * indent}{line}", style="not bold dim")
        console.print(text, soft_wrap=True)
    example = f"{section}: {{name: {found[0].name}}}"
    remark = f"A model chooses one by `{example}`, with options beside the name."
    more = "How to add your own: docs/extending.md"
    if found[0].section:
        remark = "A model chooses one by the section that is shown, with its defaults."
        more = "What each is, and what it leaves out: docs/baselines.md"
    console.print(Text(f"\n{remark}\n{more}"), soft_wrap=True)


def paper(docstring: str | None) -> str:
    """The first citation of a docstring: authors, venue and year, without the title."""
    text = " ".join((docstring or "").split())
    if found := _CITATION.search(text):
        return f"{found[1]}, {found[2]}"
    preprint = _ARXIV.search(text)
    return preprint[0] if preprint else ""


class _Recorder:
    """The section that all backbones share, which remembers what a builder reads of it."""

    def __init__(self, config: BackboneConfig) -> None:
        self._config = config
        self._read: dict[str, Any] = {}

    def __getattr__(self, key: str) -> Any:
        self._read[key] = value = getattr(self._config, key)
        return value

    def setting(self, key: str) -> float:
        self._read[key] = value = self._config.setting(key)
        return value

    def in_order(self) -> dict[str, Any]:
        return {key: self._read[key] for key in BackboneConfig.model_fields if key in self._read}


def _smallest() -> sp.csr_array:
    """Interactions of two users with an item each: enough to build anything."""
    return sp.csr_array(np.eye(2, dtype=np.float32))


def _entry(section: type[BaseModel], built: type) -> Entry:
    name = section.model_fields["name"].default
    return Entry(name, _summary(section.__doc__), paper(built.__doc__), _defaults(section))


def _plugins(group: str, common: Mapping[str, Any], built_in: list[Entry]) -> list[Entry]:
    hidden = {entry.name for entry in built_in}
    return [_plugin(group, name, common, name in hidden) for name in plugin_names(group)]


def _plugin(group: str, name: str, common: Mapping[str, Any], hidden: bool) -> Entry:
    package = package_of(group, name)
    origin = f"plug-in of {package}" if package else "plug-in"
    if hidden:
        return Entry(name, "Cannot be chosen: the name is that of a built-in.", "", {}, origin)
    try:
        factory = find_plugin(group, name)
        options: dict[str, Any] = {"options": options_of(group, factory)}
    except ConfigError as error:
        return Entry(name, f"Cannot be chosen: {error.what}.", "", {}, origin)
    text = factory.__doc__
    return Entry(name, _summary(text), paper(text), {**options, **common}, origin)


def _summary(docstring: str | None) -> str:
    return (docstring or "").strip().partition("\n")[0].replace("``", "")


def _defaults(section: type[BaseModel]) -> dict[str, Any]:
    # what is particular to it comes before what it shares with others
    keys = sorted(section.model_fields, key=lambda key: key not in section.__annotations__)
    return {key: section.model_fields[key].get_default() for key in keys if key != "name"}


def _beside_options(section: type[PluginSection]) -> dict[str, Any]:
    return {key: value for key, value in _defaults(section).items() if key != "options"}


def _details(entry: Entry) -> str:
    """Where it is from and its options; what belongs together is held by no-break spaces."""
    parts = (entry.plugin, entry.paper)
    origin = [part.replace(" ", _NO_BREAK) for part in parts if part]
    shown = dict(entry.options)
    if entry.section in _NAMED:
        shown = {"name": entry.name, **shown}
    options = _shown({entry.section: shown} if entry.section else shown)
    options = options.replace(": ", f":{_NO_BREAK}")
    return " | ".join([*origin, options] if options else origin)


def _shown(options: Mapping[str, Any]) -> str:
    """Options as they stand in a configuration, on one line and without the outer braces."""
    plain = {key: _plain(value) for key, value in options.items()}
    text: str = yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=10_000)
    return text.strip()[1:-1]


def _wrapped(text: str, width: int) -> list[str]:
    return [line.replace(_NO_BREAK, " ") for line in textwrap.wrap(text, width)]


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        # of a section within, such as semantic's base, the name says which
        return {"name": value.model_dump()["name"]}
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if value is REQUIRED:
        return "(required)"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
