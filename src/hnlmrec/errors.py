"""The one exception that users see: what is wrong, where, and how to mend it."""

from __future__ import annotations

from typing import Any


class HnlmrecError(Exception):
    """An error that the user can mend.

    Parameters
    ----------
    what
        What is wrong, as a sentence without a full stop.
    where
        The file, line, field or config key, when there is one.
    mend
        What to do about it, as a sentence without a full stop.
    """

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        self.what, self.where, self.mend = what, where, mend
        parts = [f"{where}: {what}" if where else what]
        if mend:
            parts.append(f"To mend it: {mend}")
        super().__init__(". ".join(parts) + ".")

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it reach another process as it is."""
        return _again, (type(self), self.what, self.where, self.mend)


def _again(
    kind: type[HnlmrecError], what: str, where: str | None, mend: str | None
) -> HnlmrecError:
    return kind(what, where=where, mend=mend)


class ConfigError(HnlmrecError):
    """A key, type or combination in the configuration that cannot work."""


class DataError(HnlmrecError):
    """Interactions or item texts that cannot be read or used."""


class ModelError(HnlmrecError):
    """A language model that is absent, or is not one."""


class ArtifactError(HnlmrecError):
    """A run folder whose contents are missing, damaged or of another run."""
