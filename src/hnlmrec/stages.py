"""What each stage does: read artefacts, call the room that does the work, write artefacts.

Rooms are imported inside the functions, so that a run without a language stage never loads its
packages.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hnlmrec.context import PRETRAINED, Context
from hnlmrec.disk import write_atomically
from hnlmrec.errors import ArtifactError
from hnlmrec.stage_names import (
    ENCODE_ITEMS,
    ENCODE_USERS,
    FINETUNE,
    NAME,
    PICK,
    PREPARE,
    PROFILE,
    SYNTHESIZE,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hnlmrec.language.writer import Writer

    Indices = npt.NDArray[np.int64]


class TunedError(Exception):
    """Ends a fine-tuning of which no more than tuning was asked for."""


def prepare_stage(context: Context, folder: Path) -> list[str]:
    """Read, filter and split the data."""
    from hnlmrec.data.prepare import prepare
    from hnlmrec.data.pseudonyms import user_secret

    config = context.config
    return prepare(config.data, folder, user_secret(config.privacy)).lines()


def check_counts(context: Context) -> list[str]:
    """Put what was prepared beside what the configuration expects, and refuse flaws if it does."""
    data, folder = context.config.data, context.run.stage(PREPARE)
    if not data.strict and data.expected is None:
        return []
    from hnlmrec.data.expected import compare_counts
    from hnlmrec.data.prepare import PrepareReport

    report = PrepareReport.load(folder)
    if data.strict:
        # of data that were prepared before strictness was asked for
        report.refuse_rejected(folder)
    return [] if data.expected is None else compare_counts(report, data.expected)


def profile_stage(context: Context, folder: Path) -> list[str]:
    """Write profiles of users and items from training interactions."""
    from hnlmrec.data.prepare import load_reviews
    from hnlmrec.profiles import generate_profiles

    return generate_profiles(
        context.config.profile,
        context.interactions,
        context.item_texts,
        load_reviews(context.run.stage(PREPARE)),
        folder,
        context.config.seed,
        partial(_writer, context, PROFILE),
        context.config.language.server,
        lambda text: context.reporter.line(f"    {text}"),
        context.reporter.progress,
    ).lines()


def name_stage(context: Context, folder: Path) -> list[str]:
    """Let the language model name hard negatives of training pairs, and look the names up."""
    from hnlmrec.profiles import Profiles
    from hnlmrec.synthesis.naming import write_names

    config = context.config
    return write_names(
        config.synthesis.route_a,
        config.profile,
        config.synthesis.finetune,
        context.interactions,
        Profiles.load(context.run.stage(PROFILE)),
        context.item_texts,
        folder,
        config.seed,
        _writer(context, NAME),
        context.language_model,
        config.language.server,
        lambda text: context.reporter.line(f"    {text}"),
        context.reporter.progress,
    ).lines()


def pick_stage(context: Context, folder: Path) -> list[str]:
    """Let the language model pick a favourite and a least liked item of users."""
    from hnlmrec.baselines.picking import pick_by_model, pick_by_vectors
    from hnlmrec.profiles import Profiles

    config = context.config
    users, candidates = candidates_to_pick(context)
    if config.pick.picker == "encoder":
        vectors = context.unit_vectors(ENCODE_USERS), context.unit_vectors(ENCODE_ITEMS)
        return pick_by_vectors(users, candidates, *vectors, folder).lines()
    return pick_by_model(
        config.pick,
        config.profile,
        users,
        candidates,
        Profiles.load(context.run.stage(PROFILE)).users,
        context.item_texts,
        folder,
        _writer(context, PICK),
        config.language.server,
        lambda text: context.reporter.line(f"    {text}"),
        context.reporter.progress,
    ).lines()


def candidates_to_pick(context: Context) -> tuple[Indices, Indices]:
    """The users that are asked about ``[n]``, and the candidates of each ``[n, C]``."""
    import numpy as np

    from hnlmrec.baselines.picking import chosen_users
    from hnlmrec.evaluation.ranking import rank

    config, interactions = context.config, context.interactions
    users = chosen_users(config.pick, interactions.n_users, config.seed)
    ranked = rank(context.pretrained(), users, [interactions.train], config.pick.candidates)
    # in no order: a model that chooses by place then does not choose by the CF model's scores
    return users, np.random.default_rng(config.seed).permuted(ranked, axis=1).astype(np.int64)


def preview_profiles(context: Context, sample: int) -> Iterator[str]:
    """Show how profiles are asked for and answered; see `hnlmrec.profiles.preview`."""
    from hnlmrec.profiles.preview import preview

    config, data = context.config, context.profile_data()
    return preview(
        data, config.profile, config.seed, context.writer(), config.language.server, sample
    )


def pretrain_stage(context: Context, folder: Path) -> list[str]:
    """Train the CF model that supervises synthesis, on training interactions alone."""
    from safetensors.torch import save

    from hnlmrec.training import pretrain

    config = context.config
    epochs = config.synthesis.pretrain_epochs
    view = pretrain(
        config.backbone,
        config.training,
        context.interactions,
        epochs,
        config.seed,
        context.reporter.progress,
        context.world,
        config.engine.parallel,
    )
    if context.world.is_first:
        tensors = {"users": view.users.cpu().clone(), "items": view.items.cpu().clone()}
        write_atomically(folder / PRETRAINED, save(tensors))
    return [f"{config.backbone.name}, {epochs} epochs with uniform negatives"]


def encode_stage(context: Context, folder: Path, kind: str) -> list[str]:
    """Write the vectors of all users' or all items' texts by the untuned language model."""
    from hnlmrec.profiles import Profiles
    from hnlmrec.synthesis.encode import encode

    config, profiles = context.config, Profiles.load(context.run.stage(PROFILE))
    _fill_ahead(context, ENCODE_USERS if kind == "user" else ENCODE_ITEMS, folder)
    return encode(
        kind,
        profiles.users if kind == "user" else profiles.items,
        config.language,
        config.synthesis.finetune,
        folder,
        context.reporter.progress,
    ).lines()


def finetune_stage(context: Context, folder: Path) -> list[str]:
    """Fine-tune the language model on hard negatives that the CF model names."""
    from hnlmrec.synthesis.distill import Lesson
    from hnlmrec.synthesis.finetune import finetune
    from hnlmrec.synthesis.served import finetune_served
    from hnlmrec.synthesis.sharding import load_sharded

    config, world, progress = context.config, context.world, context.reporter.progress
    served = config.language.served_model
    if served is not None and not world.is_first:
        return []
    inputs, lesson = context.synthesis_inputs(), None
    if served is not None:
        return finetune_served(
            config.synthesis, inputs, served, folder, config.seed, progress
        ).lines()
    # the head alone learns from it, and the first process alone trains the head
    if config.synthesis.distill.teacher is not None and world.is_first:
        lesson = Lesson.of_teacher(
            config.synthesis, inputs, context.teacher_model(), folder, config.seed, progress
        )

    def when_tuned() -> None:
        if context.tune_only:
            raise TunedError

    if config.synthesis.finetune.shard and world.size > 1:
        language = load_sharded(config.language, world)
    else:
        language = context.language_model()
    return finetune(
        config.synthesis,
        inputs,
        language,
        folder,
        config.seed,
        progress,
        lesson,
        world,
        when_tuned,
    ).lines()


def synthesize_stage(context: Context, folder: Path) -> list[str]:
    """Write the hard-negative vector of every training pair."""
    from hnlmrec.synthesis.synthesize import synthesize

    config = context.config
    _fill_ahead(context, SYNTHESIZE, folder)
    return synthesize(
        config.synthesis,
        context.synthesis_inputs(),
        context.language_model() if config.synthesis.mode == "pairwise" else None,
        context.run.stage(FINETUNE),
        folder,
        config.seed,
        context.reporter.progress,
    ).lines()


def _writer(context: Context, stage: str) -> Writer:
    """What asks the language model for a stage: by Ray, everything is answered when it begins."""
    writer = context.writer()
    if _by_ray(context, stage):
        from hnlmrec.distributed.ray_answers import answer_ahead

        answer_ahead(context, stage, writer)
    return writer


def _fill_ahead(context: Context, stage: str, folder: Path) -> None:
    """By Ray, fill the tables of vectors that a stage is to compute."""
    if _by_ray(context, stage):
        from hnlmrec.distributed.ray_rows import fill_ahead

        fill_ahead(context, stage, folder)


def _by_ray(context: Context, stage: str) -> bool:
    """Whether Ray's workers do the language model's part of a stage."""
    if context.config.engine.name != "ray":
        return False
    from hnlmrec.distributed.work import why_not

    return why_not(context.config, stage) is None


def verify_store(context: Context) -> list[str]:
    """Compare the checksums of the negative store, and look at every row of it."""
    from hnlmrec.synthesis.store import verify

    folder = context.run.stage(SYNTHESIZE)
    if damaged := context.run.damaged(SYNTHESIZE):
        raise ArtifactError(
            f"damaged since they were written: {', '.join(damaged)}",
            where=str(folder),
            mend="delete that folder and run `hnlmrec synthesize` again",
        )
    return ["checksums of all files agree", *verify(folder, context.interactions)]


def train_stage(context: Context, folder: Path, name: str, seed: int) -> list[str]:
    """Train one model with one seed."""
    from hnlmrec.training import train

    model = context.config.models[name]
    return train(
        model,
        context.interactions,
        seed,
        context.language_artefacts(model),
        folder,
        context.reporter.progress,
        context.world,
        context.config.engine.parallel,
    ).lines()


def evaluate_stage(context: Context, folder: Path, name: str, seed: int, trained: str) -> list[str]:
    """Rank all items for the test users, and look at the negatives that training used."""
    from hnlmrec.studies.assess import assess
    from hnlmrec.training import TrainedModel

    model = context.config.models[name]
    return assess(
        TrainedModel.load(context.run.stage(trained)),
        model,
        context.interactions,
        context.language_artefacts(model),
        seed,
        context.config.evaluation,
        folder,
        context.world,
    ).lines()


def compare_stage(context: Context, folder: Path) -> list[str]:
    """Put the evaluations of all models and seeds into one table."""
    from hnlmrec.studies.compare import compare

    return compare(context.config, context.run, folder)
