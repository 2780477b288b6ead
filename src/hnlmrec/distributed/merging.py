"""Bring the shards of a stage together, so that the stage itself has nothing left to compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hnlmrec.context import Context
from hnlmrec.distributed.shard_run import ANSWERS, PART, ShardRecord
from hnlmrec.distributed.shards import Shard, shards_folder, shards_in
from hnlmrec.distributed.work import FILLING, fillings_of
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.language.cache import answers_in
from hnlmrec.pipeline import Pipeline
from hnlmrec.stage_names import ASKING
from hnlmrec.synthesis.vectors import VectorTable

_CHUNK = 65_536
_Parts = list[tuple[Shard, ShardRecord]]


def merge_shards(pipeline: Pipeline, stage: str | None = None) -> None:
    """Merge the shards of a stage, or of every stage that has some and is not finished.

    Answers go into the cache of answers, vectors into the unfinished stage.

    Raises
    ------
    ArtifactError
        When shards are missing, unfinished, damaged or of another configuration.
    ConfigError
        When the stage has no shards, or there are none at all.
    """
    stages = [name for name in pipeline.stages if name in (*ASKING, *FILLING)]
    if stage is not None and stage not in stages:
        raise ConfigError(f"{stage!r} has no shards", mend=f"one of {', '.join(stages)}")
    run = pipeline.folder.path
    some = [name for name in stages if shards_in(shards_folder(run, name))]
    wanted = some if stage is None else [stage]
    if not wanted:
        raise ConfigError(
            "there are no shards here", where=str(run), mend="as in `hnlmrec profile --shard 1/8`"
        )
    with pipeline.holding():
        for name in wanted:
            if pipeline.is_done(name):
                pipeline.reporter.skip(name)
                continue
            key, context = pipeline.key(name), pipeline.context
            parts = _whole(context, name, key)
            merged = (_answers if name in ASKING else _vectors)(context, name, key, parts)
            pipeline.reporter.line(f"{name}: {len(parts)} shards merged, {merged}")


def _whole(context: Context, stage: str, key: str) -> _Parts:
    """All shards of one partition of a stage; where several are whole, of the finest."""
    folder = shards_folder(context.run.path, stage)
    found = shards_in(folder)
    if not found:
        raise ArtifactError(
            f"there are no shards of {stage}",
            where=str(folder),
            mend=f"as in `hnlmrec {stage.split('/')[0]} --shard 1/8`",
        )
    identity = context.writer().identity if stage in ASKING else ""
    fewest: list[str] | None = None
    for of in sorted({shard.of for shard in found}, reverse=True):
        shards = [Shard(number, of) for number in range(1, of + 1)]
        records = {
            shard: ShardRecord.read(shard.folder(context.run.path, stage)) for shard in shards
        }
        wrong = [
            f"{shard} {reason}"
            for shard, record in records.items()
            if (reason := _wrong(context, stage, shard, record, key, identity))
        ]
        if not wrong:
            return [(shard, record) for shard, record in records.items() if record is not None]
        if fewest is None or len(wrong) < len(fewest):
            fewest = wrong
    assert fewest is not None
    raise ArtifactError(
        f"the shards of {stage} are not all there: {'; '.join(fewest)}",
        where=str(folder),
        mend="run these shards (again) with the configuration of this run, then merge",
    )


def _wrong(
    context: Context, stage: str, shard: Shard, record: ShardRecord | None, key: str, identity: str
) -> str:
    """What is wrong with a shard, or nothing."""
    folder = shard.folder(context.run.path, stage)
    if record is None:
        return "has not finished" if folder.is_dir() else "is missing"
    if record.key != key:
        return "belongs to another configuration or other data"
    if record.identity != identity:
        return f"was answered by {record.identity}, and this run asks {identity}"
    if damaged := record.damaged(folder):
        return f"is damaged: {', '.join(damaged)}"
    return ""


def _answers(context: Context, stage: str, key: str, parts: _Parts) -> str:
    cache, new = context.writer().cache, 0
    for shard, _ in parts:
        for rows in answers_in(_part(context, stage, shard) / ANSWERS):
            new += cache.add_missing(rows)
    failed = sum(record.failed for _, record in parts)
    again = f"; {failed:,} questions had no answer and will be asked again" if failed else ""
    return f"{new:,} new answers in {cache.path}{again}"


def _vectors(context: Context, stage: str, key: str, parts: _Parts) -> str:
    work, n = context.run.begin(stage, key), 0
    for filling in fillings_of(context, stage):
        table = VectorTable.create(work / filling.name, filling.shape)
        for shard, _ in parts:
            rows = shard.rows(len(table), filling.chunk)
            path = _part(context, stage, shard) / filling.name
            source = VectorTable.open(path, note=filling.shape.note)
            for places in np.array_split(np.arange(len(rows)), len(rows) // _CHUNK + 1):
                table.copy(rows[places], source, places)
        n += len(table)
    return f"{n:,} rows in {work}"


def _part(context: Context, stage: str, shard: Shard) -> Path:
    return shard.folder(context.run.path, stage) / PART
