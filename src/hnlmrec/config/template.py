"""A configuration file with every key explained, made from the configuration tree itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, get_args

import yaml
from pydantic import BaseModel

from hnlmrec.config import AlignmentConfig, BaselineConfig, LossConfig, RunConfig, SamplerConfig
from hnlmrec.config.section import PluginSection

_HEADER = """\
# A run of hnlmrec. Every key is shown with its default; delete what you do not change.
# hnlmrec run THIS_FILE        does everything
"""
_MODELS = """\
# Each model sets what it changes of backbone and training, and its own:
#   sampler: one of
{samplers}
#   loss: one of
{losses}
#   baseline: null, or one of
{baselines}
#   alignment: the adapter from text to CF space
{alignment}
"""


def template() -> str:
    """The default configuration as commented YAML; it reads back to the default."""
    return _HEADER + "\n".join(_section(RunConfig(), 0)) + "\n"


def _section(section: BaseModel, depth: int) -> Iterator[str]:
    pad = "  " * depth
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name == "models":
            yield from _models(section)
        elif isinstance(value, BaseModel):
            summary = (type(value).__doc__ or "").splitlines()[0]
            yield from ("", f"{pad}# {summary}", f"{pad}{name}:")
            yield from _section(value, depth + 1)
        else:
            yield from _comment(field.description or "", pad)
            yield f"{pad}{name}: {_plain(section.model_dump(mode='json')[name])}"


def _models(config: BaseModel) -> Iterator[str]:
    text = _MODELS.format(
        samplers="\n".join(_choices(SamplerConfig)),
        losses="\n".join(_choices(LossConfig)),
        baselines="\n".join(_choices(BaselineConfig)),
        alignment="\n".join(_options(AlignmentConfig, "")),
    )
    models = {
        name: model.model_dump(mode="json", exclude_unset=True, exclude={"backbone", "training"})
        for name, model in config.models.items()  # type: ignore[attr-defined]
    }
    yield from ("", *text.splitlines())
    yield yaml.safe_dump({"models": models}, sort_keys=False).rstrip()


def _choices(union: Any) -> Iterator[str]:
    for kind in sections(union):
        plugin = issubclass(kind, PluginSection)
        label = "the name of a plug-in" if plugin else kind.model_fields["name"].default
        yield from _options(kind, f"{label}: ")


def sections(union: Any) -> Iterator[type[BaseModel]]:
    """The sections that a (nested, tagged) union of them may hold, in their order."""
    if isinstance(union, type):
        yield union
        return
    parts = get_args(union)
    # of Annotated[X, ...] only X counts
    for part in parts[:1] if hasattr(union, "__metadata__") else parts:
        yield from sections(part)


def _options(kind: type[BaseModel], label: str) -> list[str]:
    lines = _wrapped(f"{label}{(kind.__doc__ or '').splitlines()[0]}", "#     ")
    for name, field in kind.model_fields.items():
        if name != "name":
            default = field.get_default()
            shown = default.model_dump(mode="json") if isinstance(default, BaseModel) else default
            lines += _wrapped(f"{name} ({_plain(shown)}): {field.description or ''}", "#       ")
    return lines


def _comment(text: str, pad: str) -> list[str]:
    return _wrapped(text, f"{pad}# ") if text else []


def _wrapped(text: str, prefix: str) -> list[str]:
    return textwrap.wrap(text, 98, initial_indent=prefix, subsequent_indent=prefix)


def _plain(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()
