"""Names that files and configurations give, and the folders that they must stay in."""

from __future__ import annotations

import os
from pathlib import Path


def stays_inside(folder: Path, name: str | Path) -> bool:
    """Whether ``folder / name`` lies below ``folder`` by its letters: links are the user's own."""
    if "\0" in str(name):
        return False
    root, path = (
        Path(os.path.normpath(one)) for one in (folder.absolute(), folder.absolute() / name)
    )
    return path.is_relative_to(root)
