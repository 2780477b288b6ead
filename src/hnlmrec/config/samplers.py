"""Sections on negative samplers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from hnlmrec.config.section import PluginSection, Section, kind_of

Warmup = Annotated[
    int,
    Field(ge=0, description="epochs over which uniform negatives give way to these; 0: none"),
]
Guard = Annotated[
    float | None,
    Field(
        ge=0,
        lt=1,
        description="negatives that score above their positive less this share of its absolute "
        "score give way to uniform ones, and leave a pool; null: none",
    ),
]


class MeaningConfig(Section):
    """A filter of negatives whose texts suit the user about as well as the positive's."""

    margin: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="refused: a cosine to the user above the positive's less this share of its "
        "absolute value",
    )
    user: Literal["history", "profile"] = Field(
        "history",
        description="the user's text: the mean of those of the training items, or the profile",
    )
    action: Literal["drop", "replace", "weigh"] = Field(
        "drop", description="refused ones count nothing, give way to uniform ones, or count less"
    )
    weight: float = Field(0.5, ge=0, le=1, description="of a refused one, with weigh")


Meaning = Annotated[
    MeaningConfig | None,
    Field(description="a filter of likely false negatives by their texts; null: none"),
]
SAMPLER_NAMES = (
    "uniform",
    "popularity",
    "dns",
    "srns",
    "mixgcf",
    "dens",
    "ahns",
    "in_batch",
    "shared",
)


class _PairSampler(Section):
    """What all samplers share that choose negatives for each pair by itself."""

    warmup: Warmup = 0
    guard: Guard = None
    meaning: Meaning = None


class UniformConfig(Section):
    """Negatives drawn uniformly from a user's un-interacted items."""

    name: Literal["uniform"] = "uniform"
    guard: Guard = None
    meaning: Meaning = None


class PopularityConfig(_PairSampler):
    """Un-interacted items drawn in proportion to their popularity to the power beta."""

    name: Literal["popularity"] = "popularity"
    beta: float = Field(0.75, ge=0, description="power of the popularity; 0 is uniform")


class DnsConfig(_PairSampler):
    """Dynamic negative sampling: the best scored of several uniform candidates."""

    name: Literal["dns"] = "dns"
    candidates: int = Field(8, ge=1, description="uniform candidates a negative (M)")
    top: int = Field(1, ge=1, description="drawn uniformly from the top N of them")

    @model_validator(mode="after")
    def _top_is_within_candidates(self) -> Self:
        if self.top > self.candidates:
            raise ValueError(
                f"top is {self.top} and must not exceed candidates ({self.candidates})"
            )
        return self


class SrnsConfig(_PairSampler):
    """SRNS: hard and of high score variance, out of a memory of each user."""

    name: Literal["srns"] = "srns"
    memory: int = Field(20, ge=1, description="items in a user's memory (S1)")
    extra: int = Field(20, ge=1, description="uniform items that compete for the memory (S2)")
    temperature: float = Field(1.0, gt=0, description="of the softmax that fills the memory")
    variance: float = Field(1.0, ge=0, description="weight of the deviation of scores (alpha)")
    history: int = Field(5, ge=2, description="epochs over which scores deviate")
    variance_warmup: int = Field(50, ge=1, description="epochs to the full weight (T0)")


class MixGcfConfig(_PairSampler):
    """MixGCF: positive mixing and hop mixing of candidates' layers."""

    name: Literal["mixgcf"] = "mixgcf"
    candidates: int = Field(16, ge=1, description="uniform candidates a negative (M)")


class DensConfig(_PairSampler):
    """DENS: gates tell the factors of an item that matter to a user from the others."""

    name: Literal["dens"] = "dens"
    candidates: int = Field(6, ge=1, description="uniform candidates a negative (M)")
    gate_warmup: int = Field(100, ge=1, description="epochs until the gates decide alone (T)")
    weight: float = Field(0.3, ge=0, description="weight of the contrastive loss of the gates")


class AhnsConfig(_PairSampler):
    """AHNS: the higher a positive scores, the easier its negative."""

    name: Literal["ahns"] = "ahns"
    candidates: int = Field(32, ge=1, description="uniform candidates a negative (M)")
    alpha: float = Field(1.0, gt=0, description="shifts the score of the positive")
    beta: float = Field(0.1, gt=0, description="scales the hardness")
    power: float = Field(-2.0, lt=-1, description="p, the curve of the hardness")


class InBatchConfig(Section):
    """The positives of the other pairs of the batch."""

    name: Literal["in_batch"] = "in_batch"
    correct: bool = Field(True, description="weigh by inverse popularity (logQ correction)")
    guard: Guard = None
    meaning: Meaning = None


class SharedConfig(Section):
    """One pool of items that all pairs of the batch share."""

    name: Literal["shared"] = "shared"
    size: int = Field(1024, ge=1, description="items in the pool")
    beta: float = Field(0.0, ge=0, description="power of the popularity that draws; 0 is uniform")
    guard: Guard = None
    meaning: Meaning = None


class SamplerPlugin(PluginSection):
    """A sampler from outside; see docs/extending.md."""

    group = "hnlmrec.samplers"
    built_in = (*SAMPLER_NAMES, "semantic (over any of these)")
    name: str = Field(description="its name among the entry points")
    warmup: Warmup = 0
    guard: Guard = None
    meaning: Meaning = None


BaseSamplerConfig = Annotated[
    Annotated[UniformConfig, Tag("uniform")]
    | Annotated[PopularityConfig, Tag("popularity")]
    | Annotated[DnsConfig, Tag("dns")]
    | Annotated[SrnsConfig, Tag("srns")]
    | Annotated[MixGcfConfig, Tag("mixgcf")]
    | Annotated[DensConfig, Tag("dens")]
    | Annotated[AhnsConfig, Tag("ahns")]
    | Annotated[InBatchConfig, Tag("in_batch")]
    | Annotated[SharedConfig, Tag("shared")]
    | Annotated[SamplerPlugin, Tag("plugin")],
    Discriminator(kind_of(SAMPLER_NAMES)),
]


class SemanticConfig(Section):
    """HNLMRec: synthesised negatives beside those of any other sampler."""

    name: Literal["semantic"] = "semantic"
    base: BaseSamplerConfig = DnsConfig()
    enter: Literal["mixture", "negative", "extra", "text"] = Field(
        "mixture",
        description="how it meets the loss: mixed into each negative of the base, in its place, "
        "as one more negative of the pair, or as one more text in the alignment of interactions",
    )
    alpha: float = Field(0.1, ge=0, le=1, description="its weight in a mixture")
    alpha_start: float = Field(0.0, ge=0, le=1, description="its weight in the first epoch")
    alpha_epochs: int = Field(
        0, ge=0, description="epochs from alpha_start to alpha, in equal steps; 0: alpha always"
    )
    weight: float = Field(1.0, gt=0, description="its weight as one more negative or text")
    shared: bool = Field(
        False, description="as a text: all pairs of the batch meet it, and not its own pair alone"
    )
    draws: int = Field(
        1,
        ge=1,
        description="synthesised negatives of a pair: its own, and of other pairs of its user, "
        "drawn anew in each epoch; mixed with the base's negatives in turn, or each one more",
    )
    source: Literal["synthesised", "live", "names", "grounded", "shuffled", "noise"] = Field(
        "synthesised",
        description="live computes them in training by the amortized head, so that nothing grows "
        "with interactions; names and grounded are Route A's: the text of the name, or of the item "
        "that it means; controls: shuffled gives a pair another pair's negative; noise random "
        "vectors",
    )
    contrastive_weight: float = Field(1e-3, ge=0, description="lambda of the contrastive loss")
    contrastive_temperature: float = Field(0.2, gt=0, description="t of the contrastive loss")
    stop_gradient: bool = Field(
        True,
        description="no gradient from the ranking and contrastive losses into the adapter, which "
        "could only learn to push the negative away from the user; alignment alone trains it",
    )
    rescale: bool = Field(True, description="scale it to the norm of the base's negatives")


def _semantic_or_not(value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return "semantic" if name == "semantic" else "id_based"


SamplerConfig = Annotated[
    Annotated[BaseSamplerConfig, Tag("id_based")] | Annotated[SemanticConfig, Tag("semantic")],
    Discriminator(_semantic_or_not),
]
