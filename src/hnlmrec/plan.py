"""The stages of a run as data: what each needs, what decides its content, and what writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hnlmrec.config import NO_CONTENT, ModelConfig, RunConfig
from hnlmrec.config.loading import without
from hnlmrec.context import Context
from hnlmrec.outside import adapter_file, source_files, user_hashes, wording_texts
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
