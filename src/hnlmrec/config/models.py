"""Sections on CF models: backbone, sampler, alignment, training."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from hnlmrec.config.baselines import ON_LAYER_0, BaselineConfig
from hnlmrec.config.losses import BprConfig, LossConfig
from hnlmrec.config.samplers import (
    BaseSamplerConfig,
    SamplerConfig,
    SemanticConfig,
    UniformConfig,
)
from hnlmrec.config.section import Section
from hnlmrec.plugins import plugin_names

BACKBONE_PLUGINS = "hnlmrec.backbones"
BACKBONE_NAMES = ("lightgcn", "mf", "ngcf", "sgl", "simgcl", "xsimgcl", "alpharec")
# these have item texts in the place of a table
TEXT_BACKBONES = ("alpharec",)
# of the code of the authors: wujcan/SGL-Torch (sgl), Coder-Yu/SELFRec (simgcl, xsimgcl)
_RELEASED = {
    "sgl": {"contrastive_weight": 0.1, "contrastive_temperature": 0.2},
    "simgcl": {"contrastive_weight": 0.5, "contrastive_temperature": 0.2, "noise": 0.1},
    "xsimgcl": {"contrastive_weight": 0.2, "contrastive_temperature": 0.15, "noise": 0.2},
}


class BackboneConfig(Section):
    """The collaborative-filtering model."""

    name: str = Field("lightgcn", description=", ".join(BACKBONE_NAMES))
    dim: int = Field(64, ge=1, description="size of an embedding")
    layers: int = Field(2, ge=0, description="propagation layers (all but mf)")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="share of messages (ngcf) or of edges (sgl) left out"
    )
    contrastive_weight: float | None = Field(
        None,
        ge=0,
        description="weight of the contrastive loss; null: what the authors released "
        "(0.1 for sgl, 0.5 for simgcl, 0.2 for xsimgcl)",
    )
    contrastive_temperature: float | None = Field(
        None, gt=0, description="its temperature; null: 0.2 for sgl and simgcl, 0.15 for xsimgcl"
    )
    noise: float | None = Field(
        None, ge=0, description="length of the noise; null: 0.1 for simgcl, 0.2 for xsimgcl"
    )
    contrastive_layer: int = Field(
        1, ge=1, description="layer that the last one is compared with (xsimgcl)"
    )
    hidden: int = Field(256, ge=1, description="hidden width of the map of texts (alpharec)")
    linear: bool = Field(False, description="the map of texts has no hidden layer (alpharec)")
    options: dict[str, Any] = Field({}, description="arguments of a plug-in")

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        known = plugin_names(BACKBONE_PLUGINS)
        if name not in (*BACKBONE_NAMES, *known):
            raise ValueError(
                f"there is no {name!r}; there are {', '.join((*BACKBONE_NAMES, *known))}"
            )
        return name

    @model_validator(mode="after")
    def _layers_are_enough(self) -> Self:
        if self.name == "simgcl" and self.layers == 0:
            raise ValueError("simgcl is the mean of layers 1 and up, and layers is 0")
        if self.name == "xsimgcl" and self.contrastive_layer > self.layers:
            raise ValueError(
                f"contrastive_layer is {self.contrastive_layer} and there are {self.layers} layers"
            )
        return self

    def setting(self, key: str) -> float:
        """The number under ``key``, or what the backbone's authors released where it is null."""
        given: float | None = getattr(self, key)
        return _RELEASED[self.name][key] if given is None else given


class AlignmentConfig(Section):
    """The adapter from the language model's width to the CF space, aligned on items."""

    weight: float = Field(0.0, ge=0, description="weight of the InfoNCE alignment on items")
    user_weight: float = Field(
        0.0, ge=0, description="likewise on users, whose text is the mean of their items' texts"
    )
    interaction_weight: float = Field(
        0.0,
        ge=0,
        description="weight of the InfoNCE that finds a user's item by its text, among others",
    )
    interaction_texts: Literal["batch", "synthesised"] = Field(
        "batch",
        description="which others: the texts of the batch's items, and the synthesised negatives "
        "where sampler.enter is text; or these alone",
    )
    adapter: Literal["mlp", "attention"] = Field(
        "mlp", description="attention: self-attention between pieces of a vector before the mlp"
    )
    frozen: bool = Field(
        False, description="control: the adapter keeps its random weights, whatever trains"
    )
    temperature: float = Field(0.2, gt=0, description="temperature of the alignment")
    hidden: int = Field(256, ge=1, description="hidden width of the adapter")
    max_items: int = Field(
        1024,
        ge=2,
        description="distinct items of a batch that are aligned, and users, and interactions",
    )
    detach_items: bool = Field(
        False, description="true: alignment trains the adapter only, not the CF embeddings"
    )

    @property
    def active(self) -> bool:
        """Whether there is anything to align on."""
        return self.weight > 0 or self.user_weight > 0 or self.interaction_weight > 0


class TrainingConfig(Section):
    """Optimisation of the CF model and early stopping on validation."""

    epochs: int = Field(80, ge=1, description="epochs at most")
    batch_size: int = Field(2048, ge=1, description="training pairs in a batch")
    lr: float = Field(2e-3, gt=0, description="learning rate; of adagrad about 0.1")
    optimizer: Literal["adam", "lazy_adam", "adagrad"] = Field(
        "adam",
        description="lazy_adam updates the rows of a batch only: several times as fast on a large "
        "mf, and only for mf with samplers of items and losses of inner products; adagrad, a pair "
        "at a time, is the fastest, and only for mf with uniform negatives and bpr on a CPU",
    )
    l2: float = Field(1e-3, ge=0, description="L2 of the layer-0 embeddings of a batch")
    negatives: int = Field(
        1, ge=1, description="negatives a positive (in_batch and shared have their own number)"
    )
    patience: int = Field(4, ge=1, description="evaluations without a better validation Recall@20")
    evaluate_every: int = Field(4, ge=1, description="epochs between evaluations on validation")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")


class ModelConfig(Section):
    """One model of the comparison: sampler, loss, and what it changes of the shared sections."""

    sampler: SamplerConfig = UniformConfig()
    loss: LossConfig = BprConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    baseline: BaselineConfig | None = None
    backbone: BackboneConfig = BackboneConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def base_sampler(self) -> BaseSamplerConfig:
        """The ID-based sampler, below synthesised negatives where there are any."""
        return self.sampler.base if isinstance(self.sampler, SemanticConfig) else self.sampler

    @property
    def needs_adapter(self) -> bool:
        """Whether texts are mapped to the CF space by the adapter."""
        return isinstance(self.sampler, SemanticConfig) or self.alignment.active

    @property
    def needs_picks(self) -> bool:
        """Whether training reads what was picked for users."""
        return self.baseline is not None and self.baseline.name == "llmrec"

    @property
    def needs_profiles(self) -> bool:
        """Whether training reads the text vectors of users' profiles."""
        meaning = self.base_sampler.meaning
        return (self.baseline is not None and not self.needs_picks) or (
            meaning is not None and meaning.user == "profile"
        )

    @property
    def needs_texts(self) -> bool:
        """Whether training reads the text vectors of items."""
        return (
            self.needs_adapter
            or self.needs_profiles
            or self.base_sampler.meaning is not None
            or self.backbone.name in TEXT_BACKBONES
        )

    @property
    def needs_language(self) -> bool:
        """Whether training reads artefacts of the language stages."""
        return self.needs_texts or self.needs_picks

    @property
    def source(self) -> str | None:
        """Where synthesised negatives come from; None for a model without."""
        return self.sampler.source if isinstance(self.sampler, SemanticConfig) else None

    @model_validator(mode="after")
    def _every_draw_meets_a_negative(self) -> Self:
        sampler = self.sampler
        if (
            isinstance(sampler, SemanticConfig)
            and sampler.enter in ("mixture", "negative")
            and sampler.base.name not in ("in_batch", "shared")
            and sampler.draws > self.training.negatives
        ):
            raise ValueError(
                f"sampler.draws is {sampler.draws} and a pair has {self.training.negatives} "
                "negatives to mix them with: raise training.negatives, or let them be extra "
                "(sampler.enter)"
            )
        return self

    @model_validator(mode="after")
    def _a_table_is_there_to_change(self) -> Self:
        baseline = self.baseline
        if (
            baseline is not None
            and baseline.name in ON_LAYER_0
            and self.backbone.name in TEXT_BACKBONES
        ):
            raise ValueError(
                f"baseline.name is {baseline.name}, which changes a table of embeddings, and "
                f"{self.backbone.name} has texts in its place: choose another backbone.name"
            )
        return self

    @model_validator(mode="after")
    def _semantic_trains_its_adapter(self) -> Self:
        if (
            isinstance(self.sampler, SemanticConfig)
            and self.sampler.stop_gradient
            and not (self.alignment.active or self.alignment.frozen)
        ):
            raise ValueError(
                "nothing would train the adapter: with sampler.stop_gradient true, "
                "alignment.weight must be above 0 (or alignment.frozen true, as a control)"
            )
        return self

    @model_validator(mode="after")
    def _a_text_meets_texts(self) -> Self:
        sampler = self.sampler
        if (
            isinstance(sampler, SemanticConfig)
            and sampler.enter == "text"
            and self.alignment.interaction_weight == 0
        ):
            raise ValueError(
                "sampler.enter is text and there are no texts for the synthesised negative to "
                "compete with: set alignment.interaction_weight above 0"
            )
        if self.alignment.interaction_texts == "synthesised" and not (
            isinstance(sampler, SemanticConfig) and sampler.enter == "text"
        ):
            raise ValueError(
                "alignment.interaction_texts is synthesised and no synthesised negative enters as "
                "a text: set sampler.name to semantic and sampler.enter to text"
            )
        return self
