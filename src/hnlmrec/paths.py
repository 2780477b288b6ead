"""Names that files and configurations give, and the folders that they must stay in."""

from __future__ import annotations

import os
from pathlib import Path


def stays_inside(folder: Path, name: str | Path) -> bool:
    """Whether ``folder / name`` lies below ``folder`` by its letters: links are the user's own."""
    if "\0" in str(name):
        return False
    root = Path(os.path.normpath(folder.absolute()))
    return Path(os.path.normpath(root / name)).is_relative_to(root)
