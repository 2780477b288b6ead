"""The stages of a run in the order data flows, and the runner that skips what is up to date.

`plan` lists the stages of a configuration as data: what each needs, which part of the
configuration decides its content, and the function that writes it. A stage's key is a hash of
that part and of what it needs, so a change redoes exactly what depends on it. What it needs is
known by its key; prepared data by its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from hnlmrec.artifacts import CHECKED_BYTES, RunFolder, content_key
from hnlmrec.config import NO_CONTENT, ModelConfig, RunConfig
from hnlmrec.config.loading import without
from hnlmrec.context import Context
from hnlmrec.distributed import ALONE, World
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.leftovers import discard, is_tidy, tidy
from hnlmrec.outside import adapter_file, source_files, user_hashes, wording_texts
from hnlmrec.process import set_up_process
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import (
    COMPARE,
    ENCODE_ITEMS,
    ENCODE_USERS,
    FINETUNE,
    NAME,
    PICK,
    PREPARE,
    PRETRAIN,
    PROFILE,
    SYNTHESIZE,
    evaluate_name,
    train_name,
)
from hnlmrec.stages import (
    TunedError,
    check_counts,
    compare_stage,
    encode_stage,
    evaluate_stage,
    finetune_stage,
    name_stage,
    pick_stage,
    prepare_stage,
    pretrain_stage,
    profile_stage,
    synthesize_stage,
    train_stage,
)

# raise when what a stage writes changes its form: older folders are then redone
_FORMAT = 1
# keys of training that pretraining does not use: it runs a fixed number of epochs
_STOPPING = ("epochs", "patience", "evaluate_every")
# what training with negatives of a source reads, besides the vectors of items
_STAGES_OF_SOURCE = {
    "synthesised": (SYNTHESIZE,),
    "shuffled": (SYNTHESIZE,),
    "live": (PRETRAIN, FINETUNE),
    "names": (NAME,),
    "grounded": (NAME,),
    "noise": (),
}
# keys of synthesis that fine-tuning does not use
_NOT_LEARNED = ("route_a", "storage", "chunk_pairs")


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Parameters
    ----------
    name
        Also the stage's folder in the run folder.
    needs
        Stages whose artefacts it reads.
    section
        The part of the configuration that decides what it writes.
    write
        Writes into a folder and gives the lines to print.
    remarks
        Gives lines to print whenever the stage is whole, up to date or just written.
    together
        Whether all processes of a `World` call ``write``, of which the first alone writes; else
        the others wait for it.
    """

    name: str
    needs: tuple[str, ...]
    section: dict[str, Any]
    write: Callable[[Context, Path], list[str]]
    remarks: Callable[[Context], list[str]] = lambda context: []
    together: bool = False


def plan(config: RunConfig) -> dict[str, Stage]:
    """All stages of a run, in the order in which they can run."""
    tree = without(config.model_dump(mode="json"), NO_CONTENT)
    language = tree["language"]
    learned = {k: v for k, v in tree["synthesis"].items() if k not in _NOT_LEARNED}
    by_name = (NAME,) if config.synthesis.supervision.strategy == "route_a" else ()
    route_a = config.synthesis.route_a
    encoding = {"language": language, "pooling": config.synthesis.finetune.pooling}
    if config.language.served_model is not None:
        encoding = {key: language[key] for key in ("model", "max_tokens")}
    users = (ENCODE_USERS,) if config.learns_from_profiles else ()
    stages = [
        Stage(
            PREPARE,
            (),
            {**tree["data"], "files": source_files(config.data), **user_hashes(config.privacy)},
            prepare_stage,
            check_counts,
        ),
        Stage(
            PROFILE,
            (PREPARE,),
            {
                "profile": tree["profile"],
                "wording": wording_texts(config.profile.user_wording, config.profile.item_wording),
                "language": language,
                "seed": config.seed,
            },
            profile_stage,
        ),
        Stage(
            NAME,
            (PREPARE, PROFILE),
            {
                "route_a": tree["synthesis"]["route_a"],
                "wording": wording_texts(route_a.wording),
                "model": config.profile.model,
                "attempts": config.profile.attempts,
                "pooling": config.synthesis.finetune.pooling,
                "language": language,
                "seed": config.seed,
            },
            name_stage,
        ),
        Stage(ENCODE_ITEMS, (PROFILE,), encoding, partial(encode_stage, kind="item")),
        Stage(ENCODE_USERS, (PROFILE,), encoding, partial(encode_stage, kind="user")),
        Stage(
            PRETRAIN,
            (PREPARE,),
            {
                "backbone": tree["backbone"],
                "training": {k: v for k, v in tree["training"].items() if k not in _STOPPING},
                "epochs": config.synthesis.pretrain_epochs,
                "seed": config.seed,
            },
            pretrain_stage,
            together=True,
        ),
        _pick(config, language),
        Stage(
            FINETUNE,
            (PREPARE, PROFILE, ENCODE_ITEMS, *users, PRETRAIN, *by_name),
            {
                "synthesis": learned,
                "transferred": adapter_file(config.synthesis.transfer_from),
                "teacher": adapter_file(config.synthesis.distill.teacher),
                "language": language,
                "seed": config.seed,
            },
            finetune_stage,
            together=True,
        ),
        Stage(
            SYNTHESIZE,
            (PREPARE, PROFILE, ENCODE_ITEMS, PRETRAIN, FINETUNE),
            {"storage": config.synthesis.storage},
            synthesize_stage,
        ),
    ]
    for name, model in config.models.items():
        for seed in config.seeds:
            stages += _model_stages(name, model, seed, config)
    runs = tuple(evaluate_name(name, seed) for name in config.models for seed in config.seeds)
    stages.append(
        Stage(COMPARE, (PREPARE, *runs), {"reference": config.evaluation.reference}, compare_stage)
    )
    return {stage.name: stage for stage in stages}


def _pick(config: RunConfig, language: dict[str, Any]) -> Stage:
    pick = config.pick.model_dump(mode="json")
    if config.pick.picker == "encoder":
        section = {key: pick[key] for key in ("picker", "max_users", "candidates")}
        needs: tuple[str, ...] = (PREPARE, ENCODE_ITEMS, ENCODE_USERS, PRETRAIN)
    else:
        section = {
            "pick": pick,
            "wording": wording_texts(config.pick.wording),
            "model": config.profile.model,
            "attempts": config.profile.attempts,
            "language": language,
        }
        needs = (PREPARE, PROFILE, PRETRAIN)
    return Stage(PICK, needs, {**section, "seed": config.seed}, pick_stage)


def model_needs(model: ModelConfig) -> tuple[str, ...]:
    """Stages whose artefacts the training of a model reads."""
    wanted = {
        ENCODE_ITEMS: model.needs_texts,
        ENCODE_USERS: model.needs_profiles,
        PICK: model.needs_picks,
    }
    negatives = _STAGES_OF_SOURCE[model.source] if model.source else ()
    return (PREPARE, *(stage for stage, here in wanted.items() if here), *negatives)


def _model_stages(name: str, model: ModelConfig, seed: int, config: RunConfig) -> list[Stage]:
    needs = model_needs(model)
    cutoffs = list(config.evaluation.cutoffs)
    train, evaluate = train_name(name, seed), evaluate_name(name, seed)
    return [
        Stage(
            train,
            needs,
            {"model": model.model_dump(mode="json"), "seed": seed},
            lambda context, folder: train_stage(context, folder, name, seed),
            together=True,
        ),
        Stage(
            evaluate,
            (*needs, train),
            {"cutoffs": cutoffs, "hits": True},
            lambda context, folder: evaluate_stage(context, folder, name, seed, train),
            together=True,
        ),
    ]


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
