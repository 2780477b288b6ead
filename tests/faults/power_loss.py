"""What a folder looks like when the power failed: only what was synced is sure to be there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np


def read_journal(journal: Path) -> list[dict[str, Any]]:
    """What `FaultyDisk` noted."""
    return list(map(json.loads, journal.read_bytes().splitlines())) if journal.exists() else []


def lose_power(folder: Path, journal: Path, random: np.random.Generator) -> int:
    """Undo late renames, and cut or empty files whose content was not synced; how many.

    Renames of a folder whose names were not synced since are undone from the last one back, as
    many as a draw says: a journalling file system keeps their order. A file that never had its
    present content synced keeps all of it, a part, or only its size. What is there then is on
    the disk, which the journal says afterwards.
    """
    lines = read_journal(journal)
    undone = _undo_renames(lines, random)
    safe = {(line["inode"], line["sha256"]) for line in lines if line.get("done") == "content"}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if not content or _identity(path) in safe:
            continue
        kept = int(random.integers(len(content)))
        loss = random.choice(["none", "cut", "zeros", "all zeros"])
        if loss == "none":
            continue
        left = {"cut": b"", "zeros": bytes(len(content) - kept), "all zeros": bytes(len(content))}
        # in place: the inode stays, as it would
        path.write_bytes(left[loss] if loss == "all zeros" else content[:kept] + left[loss])
        undone += 1
    settle(folder, journal)
    return undone


def settle(folder: Path, journal: Path) -> None:
    """Begin a journal in which all that is in a folder is on the disk."""
    rest = (_identity(path) for path in folder.rglob("*") if path.is_file())
    lines = [
        {"done": "content", "inode": inode, "sha256": sha256} for inode, sha256 in sorted(rest)
    ]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _identity(path: Path) -> tuple[int, str]:
    return path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest()


def _undo_renames(journal: list[dict[str, Any]], random: np.random.Generator) -> int:
    late: list[dict[str, Any]] = []
    for line in journal:
        if line.get("done") == "names":
            late = [one for one in late if str(Path(one["to"]).parent) != line["folder"]]
        elif line.get("done") == "rename":
            late.append(line)
    some = late[len(late) - int(random.integers(len(late) + 1)) :]
    for line in reversed(some):
        source, to = Path(line["source"]), Path(line["to"])
        if not to.exists() or source.exists():
            return 0
        to.rename(source)
        if line["saved"]:
            Path(line["saved"]).rename(to)
    return len(some)
