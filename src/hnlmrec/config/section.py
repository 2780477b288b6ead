"""What all sections of the configuration share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hnlmrec.plugins import plugin_names

PLUGIN = "plugin"
# a key that was put in the place of the name of its variable would be saved with the run
EnvironmentVariable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PluginSection(Section):
    """What a plug-in is given: its name and its own options."""

    group: ClassVar[str]
    built_in: ClassVar[tuple[str, ...]]
    name: str
    options: dict[str, Any] = Field({}, description="arguments of the plug-in")

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        known = plugin_names(self.group)
        if self.name not in known:
            raise ValueError(
                f"there is no {self.name!r}; there are {', '.join(self.built_in)}, and "
                f"{len(known)} plug-ins ({self.group}){': ' if known else ''}{', '.join(known)}"
            )
        return self


def kind_of(built_in: tuple[str, ...]) -> Callable[[Any], str]:
    """A discriminator of sections by ``name``; any other name is that of a plug-in."""

    def kind(value: Any) -> str:
        name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
        return str(name) if name in built_in else PLUGIN

    return kind
