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
    safe = {
        (line["inode"], line["size"], line["sha256"])
        for line in lines
        if line.get("done") == "content"
    }
    sizes = {inode: {size for i, size, _ in safe if i == inode} for inode, _, _ in safe}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content, inode = path.read_bytes(), path.stat().st_ino
        # what was synced before more was appended stays
        least = max(
            (n for n in sizes.get(inode, ()) if (inode, n, _sha256(content[:n])) in safe), default=0
        )
        if least == len(content):
            continue
        kept = int(random.integers(least, len(content)))
        loss = random.choice(["none", "cut", "zeros", "all zeros"])
        if loss == "none":
            continue
        kept = least if loss == "all zeros" else kept
        # in place: the inode stays, as it would
        path.write_bytes(content[:kept] + bytes(0 if loss == "cut" else len(content) - kept))
        undone += 1
    settle(folder, journal)
    return undone


def settle(folder: Path, journal: Path) -> None:
    """Begin a journal in which all that is in a folder is on the disk."""
    lines = [
        {
            "done": "content",
            "inode": path.stat().st_ino,
            "size": path.stat().st_size,
            "sha256": _sha256(path.read_bytes()),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


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
