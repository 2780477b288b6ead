"""What each stage does: read artefacts, call the room that does the work, write artefacts.

Rooms are imported inside the functions, so that a run without a language stage never loads its
packages.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hnlmrec.artifacts import RunFolder, write_atomically
from hnlmrec.config import DataConfig, ModelConfig, RunConfig
from hnlmrec.data.embedded import locate as locate_data
from hnlmrec.data.interactions import Interactions, ItemTexts
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

    from hnlmrec.language.local import LocalLanguageModel
    from hnlmrec.language.writer import Writer
    from hnlmrec.negatives import EmbeddingView
    from hnlmrec.synthesis.finetune import SynthesisInputs
    from hnlmrec.training import LanguageArtefacts

_EMBEDDINGS = "embeddings.safetensors"


class Context:
    """What stages share: the configuration, the run folder, and what was read once."""

    def __init__(self, config: RunConfig, run: RunFolder, reporter: Reporter) -> None:
        self.config = config
        self.run = run
        self.reporter = reporter

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

    def writer(self) -> Writer:
        """What asks the language model for profiles."""
        from hnlmrec.language.writer import Writer

        return Writer.of(self.config.language, self.config.profile.model)

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

        tensors = load_file(self.run.stage(PRETRAIN) / _EMBEDDINGS)
        return EmbeddingView(tensors["users"], tensors["items"])


def source_files(config: DataConfig) -> list[tuple[str, int, int]]:
    """Name, size and modification time of the files data is read from: new files, new run."""
    folder = locate_data(config.path)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def adapter_file(run: Path | None) -> tuple[int, int] | None:
    """Size and modification time of what another run fine-tuned."""
    file = None if run is None else run / FINETUNE / "adapter.safetensors"
    # the stage itself says what is wrong with one that is not there
    return (file.stat().st_size, file.stat().st_mtime_ns) if file and file.is_file() else None


def wording_texts(*files: Path | None) -> list[str | None]:
    """The files that replace the wording of questions, as they are now."""
    # the stage itself says what is wrong with one that is not there
    return [file.read_text("utf-8") if file and file.is_file() else None for file in files]


def prepare_stage(context: Context, folder: Path) -> list[str]:
    """Read, filter and split the data."""
    from hnlmrec.data.prepare import prepare

    return prepare(context.config.data, folder).lines()


def check_counts(context: Context) -> list[str]:
    """Put what was prepared beside what the configuration expects, if it does."""
    expected = context.config.data.expected
    if expected is None:
        return []
    from hnlmrec.data.expected import compare_counts
    from hnlmrec.data.prepare import PrepareReport

    return compare_counts(PrepareReport.load(context.run.stage(PREPARE)), expected)


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
        context.writer,
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
        context.writer(),
        context.language_model,
        config.language.server,
        lambda text: context.reporter.line(f"    {text}"),
        context.reporter.progress,
    ).lines()


def pick_stage(context: Context, folder: Path) -> list[str]:
    """Let the language model pick a favourite and a least liked item of users."""
    import numpy as np

    from hnlmrec.baselines.picking import chosen_users, pick_by_model, pick_by_vectors
    from hnlmrec.evaluation.ranking import rank
    from hnlmrec.profiles import Profiles

    config, interactions = context.config, context.interactions
    users = chosen_users(config.pick, interactions.n_users, config.seed)
    ranked = rank(context.pretrained(), users, [interactions.train], config.pick.candidates)
    # in no order: a model that chooses by place then does not choose by the CF model's scores
    candidates = np.random.default_rng(config.seed).permuted(ranked, axis=1).astype(np.int64)
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
        context.writer(),
        config.language.server,
        lambda text: context.reporter.line(f"    {text}"),
        context.reporter.progress,
    ).lines()


def preview_profiles(context: Context, sample: int) -> Iterator[str]:
    """Show how profiles are asked for and answered; see `hnlmrec.profiles.preview`."""
    from hnlmrec.data.prepare import load_reviews
    from hnlmrec.profiles.generate import ProfileData
    from hnlmrec.profiles.preview import preview

    config = context.config
    reviews = load_reviews(context.run.stage(PREPARE))
    data = ProfileData(
        config.profile, context.interactions, context.item_texts, reviews, config.seed
    )
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
    )
    tensors = {"users": view.users.cpu().clone(), "items": view.items.cpu().clone()}
    write_atomically(folder / _EMBEDDINGS, save(tensors))
    return [f"{config.backbone.name}, {epochs} epochs with uniform negatives"]


def encode_stage(context: Context, folder: Path, kind: str) -> list[str]:
    """Write the vectors of all users' or all items' texts by the untuned language model."""
    from hnlmrec.profiles import Profiles
    from hnlmrec.synthesis.encode import encode

    config, profiles = context.config, Profiles.load(context.run.stage(PROFILE))
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

    config, inputs, lesson = context.config, context.synthesis_inputs(), None
    progress = context.reporter.progress
    if served := config.language.served_model:
        return finetune_served(
            config.synthesis, inputs, served, folder, config.seed, progress
        ).lines()
    if config.synthesis.distill.teacher is not None:
        lesson = Lesson.of_teacher(
            config.synthesis, inputs, context.teacher_model(), folder, config.seed, progress
        )
    return finetune(
        config.synthesis, inputs, context.language_model(), folder, config.seed, progress, lesson
    ).lines()


def synthesize_stage(context: Context, folder: Path) -> list[str]:
    """Write the hard-negative vector of every training pair."""
    from hnlmrec.synthesis.synthesize import synthesize

    config = context.config
    return synthesize(
        config.synthesis,
        context.synthesis_inputs(),
        context.language_model() if config.synthesis.mode == "pairwise" else None,
        context.run.stage(FINETUNE),
        folder,
        config.seed,
        context.reporter.progress,
    ).lines()


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
    language = context.language_artefacts(model)
    progress = context.reporter.progress
    return train(model, context.interactions, seed, language, folder, progress).lines()


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
    ).lines()


def compare_stage(context: Context, folder: Path) -> list[str]:
    """Put the evaluations of all models and seeds into one table."""
    from hnlmrec.studies.compare import compare

    return compare(context.config, context.run, folder)
