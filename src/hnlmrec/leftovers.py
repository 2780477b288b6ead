"""What a kill leaves in a run folder: found, removed, or put into its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection

from hnlmrec.artifacts import MANIFEST, RunFolder
from hnlmrec.disk import old_of, partials, remove_folder, remove_partials
from hnlmrec.stage_records import RECORD, places, stage_folders


def tidy(run: RunFolder) -> list[str]:
    """Remove what a kill left behind, and put whole stages into their place.

    Only for a holder of the lock.

    Returns
    -------
    list[str]
        Stages that were begun and not finished; `RunFolder.write` goes on with them.

    Raises
    ------
    ArtifactError
        When the record of a stage is damaged: before hours of work, not after.
    """
    run.manifest()
    remove_partials(*places(run.path))
    for old in stage_folders(run.path, ".old"):
        final = old.with_suffix("")
        if final.exists():
            shutil.rmtree(old)
        elif not (final.with_name(f"{final.name}.partial") / RECORD).is_file():
            old.rename(final)
    begun = []
    for work in stage_folders(run.path, ".partial"):
        name = work.with_suffix("").relative_to(run.path).as_posix()
        # the record is written last: a kill came between it and the renaming
        if (work / RECORD).is_file():
            run.finish(name)
        else:
            begun.append(name)
    return begun


def is_tidy(run: RunFolder, stages: Collection[str]) -> bool:
    """Whether a kill left nothing behind of these finished stages, nor an old manifest."""
    left = [folder for name in stages for folder in (run.work(name), old_of(run.stage(name)))]
    if partials(*places(run.path)) or any(folder.exists() for folder in left):
        return False
    try:
        return bool(json.loads((run.path / MANIFEST).read_bytes()) == run.manifest())
    except (OSError, ValueError):
        return False


def discard(run: RunFolder, name: str) -> None:
    """Remove what was begun of a stage that has finished since, with another key."""
    remove_folder(run.work(name))
