"""`Context`: what stages share, and how each artefact of a run is read.

Rooms are imported inside the methods, so that a run without a language stage never loads its
packages.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from hnlmrec.artifacts import RunFolder, reading
from hnlmrec.config import ModelConfig, RunConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.distributed import ALONE, World
from hnlmrec.errors import ArtifactError
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import (
    ENCODE_ITEMS,
    ENCODE_USERS,
    FINETUNE,
    NAME,
    PICK,
    PREPARE,
    PRETRAIN,
    PROFILE,
    SYNTHESIZE,
)

if TYPE_CHECKING:
    from torch import Tensor

    from hnlmrec.language.cache import AnswerCache
    from hnlmrec.language.local import LocalLanguageModel
    from hnlmrec.language.writer import Writer
    from hnlmrec.negatives import EmbeddingView
    from hnlmrec.profiles.generate import ProfileData
    from hnlmrec.synthesis.finetune import SynthesisInputs
    from hnlmrec.training import LanguageArtefacts

PRETRAINED = "embeddings.safetensors"


class Context:
    """What stages share: the configuration, the run folder, and what was read once.

    Parameters
    ----------
    config, run, reporter
        Of the run.
    world
        The processes that compute it together.
    """

    def __init__(
        self, config: RunConfig, run: RunFolder, reporter: Reporter, world: World = ALONE
    ) -> None:
        self.config = config
        self.run = run
        self.reporter = reporter
        self.world = world
        # whether fine-tuning ends before the states of the tuned model are computed
        self.tune_only = False

    @cached_property
    def interactions(self) -> Interactions:
        """The prepared interactions."""
        return Interactions.load(self.run.stage(PREPARE))

    @cached_property
    def item_texts(self) -> ItemTexts:
        """The prepared item texts."""
        return ItemTexts.load(self.run.stage(PREPARE))

    def language_model(self) -> LocalLanguageModel:
        """A fresh language model: fine-tuning changes the one it is given."""
        from hnlmrec.language import LocalLanguageModel

        return LocalLanguageModel.load(self.config.language)

    def teacher_model(self) -> LocalLanguageModel:
        """A fresh language model, once the teacher is known to be of the same data."""
        teacher = self.config.synthesis.distill.teacher
        assert teacher is not None
        other = RunFolder(teacher)
        for stage in (PREPARE, PRETRAIN):
            record = other.record(stage)
            if record is None or other.content(stage) != self.run.content(stage):
                raise ArtifactError(
                    f"the teacher's `{stage}` is not what this run has: it must be fine-tuned on "
                    "the same data, with the same CF model",
                    where=str(teacher),
                    mend="run `hnlmrec finetune` with synthesis.mode pairwise and the data, "
                    "backbone, training and seed of this run, and name its folder in "
                    "synthesis.distill.teacher",
                )
        return self.language_model()

    def writer(self, cache: AnswerCache | None = None) -> Writer:
        """What asks the language model for profiles, into ``cache`` or the configuration's."""
        from hnlmrec.language.writer import Writer

        return Writer.of(self.config.language, self.config.profile.model, cache)

    def profile_data(self) -> ProfileData:
        """The training data as profiles see it."""
        from hnlmrec.data.prepare import load_reviews
        from hnlmrec.profiles.generate import ProfileData

        config, reviews = self.config, load_reviews(self.run.stage(PREPARE))
        return ProfileData(config.profile, self.interactions, self.item_texts, reviews, config.seed)

    def synthesis_inputs(self) -> SynthesisInputs:
        """Training interactions, profiles, their vectors, and the pretrained CF model."""
        from hnlmrec.profiles import Profiles
        from hnlmrec.synthesis.finetune import SynthesisInputs
        from hnlmrec.synthesis.states import Encoded

        profiles = Profiles.load(self.run.stage(PROFILE))
        named = None
        if self.config.synthesis.supervision.strategy == "route_a":
            from hnlmrec.synthesis.named import Named

            named = Named.load(self.run.stage(NAME))
        users = self.run.stage(ENCODE_USERS) if self.config.learns_from_profiles else None
        return SynthesisInputs(
            self.interactions,
            profiles.users,
            profiles.items,
            self.pretrained(),
            Encoded.open(self.run.stage(ENCODE_ITEMS), users),
            named,
        )

    def language_artefacts(self, model: ModelConfig) -> LanguageArtefacts | None:
        """What the training of a model takes from the language stages, if anything."""
        if not model.needs_language:
            return None
        from hnlmrec.baselines import Picks
        from hnlmrec.negatives.semantic import HardNegativeSource
        from hnlmrec.synthesis.live import LiveNegatives
        from hnlmrec.synthesis.named import NamedNegatives
        from hnlmrec.synthesis.states import load_untuned
        from hnlmrec.synthesis.store import NegativeStore
        from hnlmrec.training import LanguageArtefacts

        finetuned, named = self.run.stage(FINETUNE), self.run.stage(NAME)
        item_vectors = self.unit_vectors(ENCODE_ITEMS) if model.needs_texts else None
        user_vectors = self.unit_vectors(ENCODE_USERS) if model.needs_profiles else None
        picks = None
        if model.needs_picks:
            picks = Picks.load(self.run.stage(PICK), self.interactions.n_users)
        source: HardNegativeSource | None = None
        if model.source in ("synthesised", "shuffled"):
            source = NegativeStore.open(self.run.stage(SYNTHESIZE), self.interactions)
        elif model.source == "live":
            source = LiveNegatives.open(finetuned, self.pretrained(), self.interactions)
        elif model.source == "names":
            centre = load_untuned(self.run.stage(ENCODE_ITEMS)).mean()
            source = NamedNegatives.as_named(named, centre)
        elif model.source == "grounded":
            assert item_vectors is not None
            source = NamedNegatives.grounded(named, item_vectors)
        return LanguageArtefacts(source, item_vectors, user_vectors, picks)

    def unit_vectors(self, stage: str) -> Tensor:
        """Unit text vectors that a stage wrote."""
        from hnlmrec.synthesis import states

        return states.unit_vectors(states.load_untuned(self.run.stage(stage)))

    def pretrained(self) -> EmbeddingView:
        """Embeddings of the CF model that supervises."""
        from safetensors.torch import load_file

        from hnlmrec.negatives import EmbeddingView

        file = self.run.stage(PRETRAIN) / PRETRAINED
        with reading("the pretrained CF model", file, "hnlmrec finetune"):
            tensors = load_file(file)
            return EmbeddingView(tensors["users"], tensors["items"])
