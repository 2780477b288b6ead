"""The runner of a plan's stages, which skips what is up to date.

A stage's key is a hash of the part of the configuration that decides its content and of what it
needs, so a change redoes exactly what depends on it. What it needs is known by its key; prepared
data by its content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from hnlmrec.artifacts import CHECKED_BYTES, RunFolder, content_key
from hnlmrec.config import RunConfig
from hnlmrec.context import Context
from hnlmrec.distributed import ALONE, World
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.leftovers import discard, is_tidy, tidy
from hnlmrec.plan import Stage, plan
from hnlmrec.process import set_up_process
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import (
    FINETUNE,
    PREPARE,
)
from hnlmrec.stages import (
    TunedError,
)

# raise when what a stage writes changes its form: older folders are then redone
_FORMAT = 1


class Pipeline:
    """Runs stages of one configuration in its run folder.

    While it writes there it holds the folder's lock; what only reads needs none.

    Parameters
    ----------
    config
        The whole run.
    reporter
        Prints.
    update
        Accept a run folder that holds another configuration, and redo what differs.
    world
        The processes that run it together: each has a pipeline of the same configuration, and
        sees the same run folder. The first prints, decides and writes.
    claim
        Make the run folder its own. Without that it may only be read.
    """

    def __init__(
        self,
        config: RunConfig,
        reporter: Reporter,
        *,
        update: bool = False,
        world: World = ALONE,
        claim: bool = True,
    ) -> None:
        self.config = config
        self.reporter = reporter if world.is_first else Reporter(Console(quiet=True))
        self.world = world
        self._update = update
        self.folder = RunFolder(config.run)
        self.stages = plan(config)
        if world.is_first:
            (self.folder.claim if claim else self.folder.check)(config, update=update)
        self.context = Context(config, self.folder, self.reporter, world)
        self._keys: dict[str, str] = {}

    def key(self, name: str) -> str:
        """The key of a stage, once the data is prepared: of its section and of what it needs."""
        if name not in self._keys:
            stage = self.stages[name]
            self._keys[name] = content_key(_FORMAT, name, stage.section, self._inputs(stage))
        return self._keys[name]

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep other processes from writing into the run folder; mend what a kill left there.

        Raises
        ------
        ArtifactError
            When another process is writing there, or the folder cannot be written to.
        ConfigError
            When the folder has been given another configuration in the meantime.
        """
        with self.folder.lock.held() as first:
            if first:
                self.folder.claim(self.config, update=self._update)
                for name in tidy(self.folder):
                    self.reporter.line(
                        f"{name} was begun and not finished: {self.folder.work(name)}"
                    )
            yield

    def run(self, targets: Iterable[str]) -> None:
        """Run these stages and what they need; what is up to date is skipped.

        When all of it is, the folder is only read: it may be read-only, or written to by another.

        Raises
        ------
        ConfigError
            When there is no stage of such a name.
        ArtifactError
            When another process is writing into the run folder.
        """
        wanted = set()
        for target in targets:
            if target not in self.stages:
                raise ConfigError(
                    f"there is no stage {target!r}; there are {', '.join(self.stages)}"
                )
            wanted |= {target, *self.upstream(target)}
        if not self.world.is_first:
            if not self.world.tell(True):
                for stage in self._in_order(wanted):
                    self._help(stage)
            return
        done = self._are_done(wanted)
        self.world.tell(done)
        if done:
            self._mend(wanted)
            for stage in self._in_order(wanted):
                self._skip(stage)
            return
        with self.holding(), self._engine():
            for stage in self._in_order(wanted):
                self._run_stage(stage)
            self.folder.gather()

    def tune_only(self) -> None:
        """Run `finetune` up to where the language model is tuned, and leave it unfinished.

        What is then to be computed of its states, shards can compute.

        Raises
        ------
        ConfigError
            When Ray is the engine, whose workers compute the states.
        """
        if self.config.engine.name == "ray":
            raise ConfigError(
                "workers of Ray tune and compute the states in one go",
                where="--tune-only",
                mend="leave out --tune-only, or --engine ray",
            )
        self.context.tune_only = True
        try:
            with suppress(TunedError):
                self.run([FINETUNE])
        finally:
            self.context.tune_only = False

    def add(self, stage: Stage) -> None:
        """Add a stage that the configuration does not name, such as a trial."""
        self.stages[stage.name] = stage

    def upstream(self, name: str) -> set[str]:
        """All stages that a stage needs, and those that these need."""
        needs = set(self.stages[name].needs)
        return needs.union(*(self.upstream(need) for need in needs))

    def is_done(self, name: str) -> bool:
        """Whether a stage and all that it needs are up to date."""
        return self._are_done({name, *self.upstream(name)})

    def lines(self, name: str) -> list[str]:
        """What a finished stage printed."""
        record = self.folder.record(name)
        return record.lines if record else []

    @contextmanager
    def _engine(self) -> Iterator[None]:
        """Keep what stages are computed on, where that is not this process."""
        if self.config.engine.name == "local":
            yield
            return
        from hnlmrec.distributed.ray_cluster import cluster

        with cluster(self.config.engine):
            yield

    def _in_order(self, wanted: set[str]) -> Iterator[Stage]:
        return (stage for name, stage in self.stages.items() if name in wanted)

    def _are_done(self, stages: set[str]) -> bool:
        # the keys of all others depend on what is prepared now
        if PREPARE in stages and not self.folder.up_to_date(PREPARE, self.key(PREPARE)):
            return False
        return all(self.folder.up_to_date(one, self.key(one)) for one in stages)

    def _mend(self, wanted: set[str]) -> None:
        """Remove what a kill left of finished stages, unless another process is writing here."""
        # nor where nothing can be written: they are finished all the same
        with suppress(ArtifactError):
            if not is_tidy(self.folder, wanted):
                with self.holding():
                    for name in wanted:
                        discard(self.folder, name)
                    self.folder.gather()

    def _run_stage(self, stage: Stage) -> None:
        """Run a stage unless it is up to date; the other processes `_help`."""
        key = self.key(stage.name)
        done = self.folder.up_to_date(stage.name, key)
        self.world.tell(done)
        if done:
            discard(self.folder, stage.name)
            self._skip(stage)
            return
        record = self.folder.record(stage.name)
        if record is not None and record.key == key:
            damaged = ", ".join(self.folder.damaged(stage.name, below=CHECKED_BYTES))
            self.reporter.line(
                f"{stage.name} is done again: damaged since it was written: {damaged}"
            )
        self._write_stage(stage, key)
        self.world.wait()
        self._remark(stage)

    def _help(self, stage: Stage) -> None:
        """What the other processes do while the first runs a stage."""
        if self.world.tell(True):
            return
        if stage.together:
            set_up_process(self.config.threads)
            # until the folder is there
            self.world.wait()
            stage.write(self.context, self.folder.work(stage.name))
        self.world.wait()

    def _skip(self, stage: Stage) -> None:
        self.reporter.skip(stage.name)
        self._remark(stage)

    def _remark(self, stage: Stage) -> None:
        for line in stage.remarks(self.context):
            self.reporter.line(f"    {line}")

    def _write_stage(self, stage: Stage, key: str) -> None:
        set_up_process(self.config.threads)
        with (
            self.reporter.stage(stage.name) as lines,
            self.folder.write(stage.name, key, stage.section, self._inputs(stage), lines) as work,
        ):
            if stage.together:
                self.world.wait()
            if stage.together and self.config.engine.name == "ray":
                from hnlmrec.distributed.ray_train import write_on_ray

                lines.extend(write_on_ray(self.context, work, stage.name))
            else:
                lines.extend(stage.write(self.context, work))

    def _inputs(self, stage: Stage) -> dict[str, str]:
        # a copied or moved data set has new times and paths: prepared again, it is the same data
        return {
            need: self.folder.content(need) if need == PREPARE else self.key(need)
            for need in stage.needs
        }
