"""Sections on CF models: backbone, sampler, alignment, training."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hnlmrec.config.section import Section


class BackboneConfig(Section):
    """The collaborative-filtering model."""

    name: Literal["lightgcn", "mf"] = Field("lightgcn", description="lightgcn or mf")
    dim: int = Field(64, ge=1, description="size of an embedding")
    layers: int = Field(2, ge=0, description="propagation layers (lightgcn)")


class UniformConfig(Section):
    """Negatives drawn uniformly from a user's un-interacted items."""

    name: Literal["uniform"] = "uniform"


class DnsConfig(Section):
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


BaseSamplerConfig = Annotated[UniformConfig | DnsConfig, Field(discriminator="name")]


class SemanticConfig(Section):
    """HNLMRec: synthesised negatives mixed with those of any base sampler."""

    name: Literal["semantic"] = "semantic"
    base: BaseSamplerConfig = DnsConfig()
    alpha: float = Field(0.1, ge=0, le=1, description="weight of the synthesised negative")
    source: Literal["synthesised", "shuffled", "noise"] = Field(
        "synthesised",
        description="controls: shuffled gives a pair another pair's negative; noise random vectors",
    )
    contrastive_weight: float = Field(1e-3, ge=0, description="lambda of the contrastive loss")
    contrastive_temperature: float = Field(0.2, gt=0, description="t of the contrastive loss")
    stop_gradient: bool = Field(
        True,
        description="no gradient from the ranking and contrastive losses into the adapter, which "
        "could only learn to push the negative away from the user; alignment alone trains it",
    )
    rescale: bool = Field(True, description="scale it to the norm of the item embeddings")


SamplerConfig = Annotated[UniformConfig | DnsConfig | SemanticConfig, Field(discriminator="name")]


class AlignmentConfig(Section):
    """The adapter from the language model's width to the CF space, aligned on items."""

    weight: float = Field(0.0, ge=0, description="weight of the InfoNCE alignment on items")
    temperature: float = Field(0.2, gt=0, description="temperature of the alignment")
    hidden: int = Field(256, ge=1, description="hidden width of the adapter")
    max_items: int = Field(1024, ge=2, description="distinct items of a batch that are aligned")
    detach_items: bool = Field(
        False, description="true: alignment trains the adapter only, not the item embeddings"
    )


class TrainingConfig(Section):
    """Optimisation of the CF model and early stopping on validation."""

    epochs: int = Field(80, ge=1, description="epochs at most")
    batch_size: int = Field(2048, ge=1, description="training pairs in a batch")
    lr: float = Field(2e-3, gt=0, description="learning rate of Adam")
    l2: float = Field(1e-3, ge=0, description="L2 of the layer-0 embeddings of a batch")
    loss: Literal["bpr"] = Field("bpr", description="ranking loss")
    negatives: int = Field(1, ge=1, description="negatives a positive")
    patience: int = Field(4, ge=1, description="evaluations without a better validation Recall@20")
    evaluate_every: int = Field(4, ge=1, description="epochs between evaluations on validation")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")


class ModelConfig(Section):
    """One model of the comparison: a sampler, and whatever it changes of the shared sections."""

    sampler: SamplerConfig = UniformConfig()
    alignment: AlignmentConfig = AlignmentConfig()
    backbone: BackboneConfig = BackboneConfig()
    training: TrainingConfig = TrainingConfig()

    @property
    def needs_language(self) -> bool:
        """Whether training reads artefacts of the language stages."""
        return self.sampler.name == "semantic" or self.alignment.weight > 0

    @model_validator(mode="after")
    def _semantic_trains_its_adapter(self) -> Self:
        if (
            isinstance(self.sampler, SemanticConfig)
            and self.sampler.stop_gradient
            and self.alignment.weight == 0
        ):
            raise ValueError(
                "nothing would train the adapter: with sampler.stop_gradient true, "
                "alignment.weight must be above 0"
            )
        return self
