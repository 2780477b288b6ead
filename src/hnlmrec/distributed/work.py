"""What the language model has to do for a stage, in parts that processes can share out."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from hnlmrec.baselines.picking import pick_questions
from hnlmrec.config import RunConfig
from hnlmrec.context import Context
from hnlmrec.profiles import Profiles
from hnlmrec.profiles.generate import profile_questions
from hnlmrec.profiles.questions import Questions
from hnlmrec.stage_names import (
    ASKING,
    ENCODE_ITEMS,
    ENCODE_USERS,
    FINETUNE,
    NAME,
    PICK,
    PROFILE,
    SYNTHESIZE,
)
from hnlmrec.stages import candidates_to_pick
from hnlmrec.synthesis.encode import Texts
from hnlmrec.synthesis.filling import Filling
from hnlmrec.synthesis.model import HardNegativeModel
from hnlmrec.synthesis.naming import name_questions
from hnlmrec.synthesis.states import UNTUNED
from hnlmrec.synthesis.synthesize import negatives, pairwise_model
from hnlmrec.synthesis.tuned import tuned_states, what_was_learned
from hnlmrec.synthesis.vectors import written_width

# those whose parts are rows of vectors
FILLING = (ENCODE_ITEMS, ENCODE_USERS, FINETUNE, SYNTHESIZE)


def why_not(config: RunConfig, stage: str) -> str | None:
    """Why a stage gives the language model nothing that could be shared out; None if it does."""
    amortized = config.synthesis.mode == "amortized"
    reasons = {
        PROFILE: config.profile.generator == "template" and "profile.generator is template",
        PICK: config.pick.picker == "encoder" and "pick.picker is encoder",
        FINETUNE: (not amortized and "in synthesis.mode pairwise it computes no states")
        or (config.language.served_model is not None and "a server's model is not tuned"),
        SYNTHESIZE: amortized and "in synthesis.mode amortized the head computes its vectors",
    }
    if stage not in (*ASKING, *FILLING):
        return "the language model has no part in it"
    return reasons.get(stage) or None


def questions_of(context: Context, stage: str) -> Questions:
    """What a stage of `ASKING` asks the language model."""
    config = context.config
    if stage == PROFILE:
        return profile_questions(context.profile_data(), config.seed)
    profiles, texts = Profiles.load(context.run.stage(PROFILE)), context.item_texts
    if stage == NAME:
        route_a, interactions = config.synthesis.route_a, context.interactions
        return name_questions(route_a, config.profile, interactions, profiles, texts, config.seed)
    users, candidates = candidates_to_pick(context)
    return pick_questions(config.pick, config.profile, users, candidates, profiles.users, texts)


def fillings_of(context: Context, stage: str) -> list[Filling]:
    """The tables that the language model fills for a stage of `FILLING`.

    It is loaded when the first row is computed.

    Parameters
    ----------
    context
        Of the run: what the stage needs is finished in it.
    stage
        Its name.

    Raises
    ------
    ArtifactError
        When the model is not tuned yet.
    """
    config, synthesis = context.config, context.config.synthesis
    if stage in (ENCODE_ITEMS, ENCODE_USERS):
        profiles = Profiles.load(context.run.stage(PROFILE))
        of_items = stage == ENCODE_ITEMS
        kind, texts = ("item", profiles.items) if of_items else ("user", profiles.users)
        width = written_width(context.run.work(stage) / UNTUNED)
        return [Texts.of(kind, texts, config.language, synthesis.finetune, width).filling]
    inputs = context.synthesis_inputs()
    if stage == FINETUNE:
        learned = what_was_learned(synthesis, context.run.work(FINETUNE))
        return tuned_states(synthesis, inputs, context.language_model, learned, config.seed)
    width = inputs.encoded.items.width

    @cache
    def load() -> HardNegativeModel:
        language, finetuned = context.language_model(), context.run.stage(FINETUNE)
        return pairwise_model(synthesis, inputs, language, finetuned, width, config.seed)

    def states(users: Tensor, items: Tensor) -> Tensor:
        return load().pairwise_states(users, items)

    return [negatives(synthesis, inputs.interactions, width, states)]
