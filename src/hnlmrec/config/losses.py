"""Sections on ranking losses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from hnlmrec.config.section import PluginSection, Section, kind_of

Similarity = Annotated[
    Literal["inner", "cosine"],
    Field(description="what the loss sees of two embeddings: their inner product or cosine"),
]
Temperature = Annotated[float, Field(gt=0, description="divides scores, or their differences")]
LOSS_NAMES = ("bpr", "hinge", "bce", "ccl", "sl", "bsl", "psl", "sl_at_k")


class BprConfig(Section):
    """BPR: the logistic loss of each negative's difference to the positive."""

    name: Literal["bpr"] = "bpr"
    similarity: Similarity = "inner"


class HingeConfig(Section):
    """Hinge: every negative a margin below the positive."""

    name: Literal["hinge"] = "hinge"
    similarity: Similarity = "inner"
    margin: float = Field(1.0, gt=0, description="least distance of positive and negative scores")


class BceConfig(Section):
    """Binary cross-entropy: positives to 1, negatives to 0."""

    name: Literal["bce"] = "bce"
    similarity: Similarity = "inner"


class CclConfig(Section):
    """CCL, of SimpleX: positives to cosine 1, negatives below a margin."""

    name: Literal["ccl"] = "ccl"
    similarity: Similarity = "cosine"
    margin: float = Field(0.9, description="negatives that score below it cost nothing")
    negative_weight: float = Field(150.0, gt=0, description="weight of the mean over negatives (w)")


class SlConfig(Section):
    """SL: sampled softmax."""

    name: Literal["sl"] = "sl"
    similarity: Similarity = "cosine"
    temperature: Temperature = 0.2


class BslConfig(Section):
    """BSL: softmax with a temperature of its own for the positive."""

    name: Literal["bsl"] = "bsl"
    similarity: Similarity = "cosine"
    temperature: Temperature = 0.15
    positive_temperature: float = Field(
        0.168, gt=0, description="divides the score of the positive"
    )


class PslConfig(Section):
    """PSL: softmax with a gentler activation than the exponential function."""

    name: Literal["psl"] = "psl"
    similarity: Similarity = "cosine"
    activation: Literal["tanh", "atan", "relu"] = Field(
        "tanh", description="1 + tanh(d), 1 + atan(d) or 1 + d, where above 0"
    )
    temperature: float = Field(0.1, gt=0, description="the activation is raised to 1 / temperature")
    scale: float = Field(
        2.0, gt=0, description="divides differences of scores first; 2 brings cosines to [-1, 1]"
    )


class SlAtKConfig(Section):
    """SL@K: softmax that weighs a pair by whether its positive is in the user's top K."""

    name: Literal["sl_at_k"] = "sl_at_k"
    similarity: Similarity = "cosine"
    temperature: Temperature = 0.2
    k: int = Field(20, ge=1, description="length of the recommended list (K)")
    quantile_temperature: float = Field(
        2.25, gt=0, description="of the sigmoid that weighs; smaller is closer to 0 or 1"
    )


class LossPlugin(PluginSection):
    """A loss from outside; see docs/extending.md."""

    group = "hnlmrec.losses"
    built_in = LOSS_NAMES
    name: str = Field(description="its name among the entry points")
    similarity: Similarity = "inner"


LossConfig = Annotated[
    Annotated[BprConfig, Tag("bpr")]
    | Annotated[HingeConfig, Tag("hinge")]
    | Annotated[BceConfig, Tag("bce")]
    | Annotated[CclConfig, Tag("ccl")]
    | Annotated[SlConfig, Tag("sl")]
    | Annotated[BslConfig, Tag("bsl")]
    | Annotated[PslConfig, Tag("psl")]
    | Annotated[SlAtKConfig, Tag("sl_at_k")]
    | Annotated[LossPlugin, Tag("plugin")],
    Discriminator(kind_of(LOSS_NAMES)),
]
