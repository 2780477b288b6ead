"""Do one shard of a stage: ask its questions, or compute its rows, into a folder of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ValidationError

from hnlmrec.context import Context
from hnlmrec.disk import (
    remove_folder,
    remove_partials,
    sync_file,
    sync_folder,
    write_atomically,
    writing,
)
from hnlmrec.distributed.shards import Shard
from hnlmrec.distributed.work import fillings_of, questions_of, why_not
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.language.cache import AnswerCache
from hnlmrec.lock import FolderLock
from hnlmrec.measure import Meter
from hnlmrec.pipeline import Pipeline
from hnlmrec.profiles.asking import ask, estimate
from hnlmrec.stage_names import ASKING
from hnlmrec.stage_records import KEY, FileRecord, describe_files

RECORD, PART, ANSWERS = "shard.json", "part", "answers.sqlite"


class ShardRecord(BaseModel):
    """What made a shard, and what its files then were.

    ``identity`` tells the model whose answers they are from any other; ``failed`` counts questions
    that a server did not answer.
    """

    stage: str
    key: str
    shard: str
    identity: str = ""
    failed: int = 0
    seconds: float = 0.0
    files: dict[str, FileRecord] = {}
    lines: list[str] = []

    @classmethod
    def read(cls, folder: Path) -> ShardRecord | None:
        """The record of a finished shard, or None; an ArtifactError where it is damaged."""
        try:
            return cls.model_validate_json((folder / RECORD).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise ArtifactError(
                f"the record of this shard is damaged ({error})",
                where=str(folder / RECORD),
                mend="delete that folder and run the shard again",
            ) from None

    def damaged(self, folder: Path) -> list[str]:
        """Files that are gone or no longer what was written."""
        found = describe_files(folder / PART) if (folder / PART).is_dir() else {}
        return [name for name, facts in self.files.items() if found.get(name) != facts]


def run_shard(pipeline: Pipeline, stage: str, shard: Shard) -> None:
    """Do one part of a stage, unless it is done; interrupted, it goes on where it was.

    Shards of a stage may run at the same time, on machines that see the run folder.

    Raises
    ------
    ConfigError
        When the stage cannot be shared out.
    ArtifactError
        When what it needs is not finished, or another process does this shard.
    """
    if reason := why_not(pipeline.config, stage):
        raise ConfigError(
            f"of `{stage}` there is nothing to share out: {reason}",
            where="--shard",
            mend="run it without --shard",
        )
    missing = [name for name in pipeline.stages if name in pipeline.upstream(stage)]
    missing = [name for name in missing if not pipeline.is_done(name)]
    if missing:
        raise ArtifactError(
            f"`{stage}` needs {', '.join(missing)}, not finished with this configuration",
            where=str(pipeline.folder.path),
            mend="run those first, without --shard",
        )
    key, context = pipeline.key(stage), pipeline.context
    folder = shard.folder(pipeline.folder.path, stage)
    name = f"{stage}, shard {shard}"
    with FolderLock(folder).held(), writing(name, folder):
        remove_partials(folder)
        record = ShardRecord.read(folder)
        if record and record.key == key and not record.failed and not record.damaged(folder):
            pipeline.reporter.skip(name)
            return
        with pipeline.reporter.stage(name) as lines:
            part, meter = _begin(folder, key), Meter()
            record = ShardRecord(stage=stage, key=key, shard=str(shard), lines=lines)
            (_answer if stage in ASKING else _fill)(context, shard, part, record)
            for file in part.iterdir():
                sync_file(file)
            sync_folder(part)
            record.files, record.seconds = describe_files(part), round(meter.seconds(), 3)
            lines += record.lines
            write_atomically(folder / RECORD, record.model_dump_json(indent=1).encode())


def _begin(folder: Path, key: str) -> Path:
    """The folder of what a shard makes, with what was made of it under the same key."""
    part = folder / PART
    # what is there is not whole any more
    (folder / RECORD).unlink(missing_ok=True)
    if not ((part / KEY).is_file() and (part / KEY).read_bytes() == key.encode()):
        remove_folder(part)
        write_atomically(part / KEY, key.encode())
    return part


def _answer(context: Context, shard: Shard, part: Path, record: ShardRecord) -> None:
    """Ask what is to be asked about this shard's users and items, repairs included."""
    config, questions = context.config, questions_of(context, record.stage)
    ids = pl.concat([context.interactions.user_ids, context.interactions.item_ids])
    mine = shard.owns(ids.gather(questions.owners).to_list())
    requests = {
        name: request
        for (name, request), own in zip(questions.requests.items(), mine, strict=True)
        if own
    }
    # it stops when all shards together could not pass any more; what many answers have in common
    # is seen when they are together
    limit = min(1.0, questions.limit * len(mine) / max(1, len(requests)))
    form = replace(questions.form, unlike=False)
    cache = AnswerCache(part / ANSWERS, alone=True)
    try:
        writer = context.writer(cache)
        says = estimate(requests, form, config.profile, writer, config.language.server)
        context.reporter.line(f"    {says}")
        progress = context.reporter.progress
        written = ask(requests, form, config.profile, writer, progress, limit=limit)
    finally:
        cache.close()
    record.identity, record.failed = writer.identity, writer.usage.failed
    record.lines.append(
        f"{len(requests):,} of {len(mine):,} questions: {len(written.answers):,} answered, "
        f"{writer.usage.asked:,} answers written now"
    )
    record.lines += [f"note: {n:,} rejected: {why}" for why, n in written.fallbacks.items()]
    if record.failed:
        record.lines.append("note: run the shard again to ask what had no answer from the server")


def _fill(context: Context, shard: Shard, part: Path, record: ShardRecord) -> None:
    """Compute this shard's rows of each table."""
    for filling in fillings_of(context, record.stage):
        rows = shard.rows(filling.shape.n, filling.chunk)
        filling.part(rows).fill(part, context.reporter.progress)
        record.lines.append(f"{filling.name}: {len(rows):,} of {filling.shape.n:,} rows")
