"""Sections on LLM-enhanced baselines: what a model takes from texts beside its sampler and loss."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from hnlmrec.config.section import Section, kind_of

Temperature = Annotated[float, Field(gt=0, description="divides the cosines")]
Hidden = Annotated[int, Field(ge=1, description="hidden width of the perceptron")]
MaxNodes = Annotated[
    int, Field(ge=2, description="users, and items, of a batch that the loss is taken over")
]
BASELINE_NAMES = ("rlmrec_con", "rlmrec_gen", "kar", "llmrec")
# these change the layer-0 table, so the backbone must have one
ON_LAYER_0 = ("rlmrec_gen", "kar")


class RlmrecConConfig(Section):
    """RLMRec-Con: embeddings of users and items find the texts of their profiles."""

    name: Literal["rlmrec_con"] = "rlmrec_con"
    weight: float = Field(1e-3, gt=0, description="of the contrastive loss")
    temperature: Temperature = 0.2
    hidden: Hidden = 256
    max_nodes: MaxNodes = 1024


class RlmrecGenConfig(Section):
    """RLMRec-Gen: texts of profiles are rebuilt for masked users and items."""

    name: Literal["rlmrec_gen"] = "rlmrec_gen"
    weight: float = Field(1e-2, gt=0, description="of the reconstruction loss")
    share: float = Field(0.1, gt=0, lt=1, description="of all nodes that a step masks")
    temperature: Temperature = 0.2
    hidden: Hidden = 256
    max_nodes: MaxNodes = 1024


class KarConfig(Section):
    """KAR: experts turn the texts of profiles into what is added to layer-0 embeddings."""

    name: Literal["kar"] = "kar"
    shared: int = Field(2, ge=0, description="experts that users and items share")
    dedicated: int = Field(2, ge=1, description="experts of users alone, and of items alone")
    hidden: Hidden = 64


class LlmrecConfig(Section):
    """LLMRec: more pairs of a user's favourite and least liked candidate, without the worst."""

    name: Literal["llmrec"] = "llmrec"
    weight: float = Field(1e-2, gt=0, description="of the loss of the added pairs")
    prune: float = Field(
        0.2, ge=0, lt=1, description="share of a batch's added pairs left out: those of most loss"
    )


BaselineConfig = Annotated[
    Annotated[RlmrecConConfig, Tag("rlmrec_con")]
    | Annotated[RlmrecGenConfig, Tag("rlmrec_gen")]
    | Annotated[KarConfig, Tag("kar")]
    | Annotated[LlmrecConfig, Tag("llmrec")],
    Discriminator(kind_of(BASELINE_NAMES)),
]


class PickConfig(Section):
    """Favourite and least liked item of users among candidates of the CF model (for llmrec)."""

    picker: Literal["llm", "encoder"] = Field(
        "llm",
        description="llm: the language model is asked; encoder: the candidates nearest to and "
        "farthest from the user's profile by text vectors",
    )
    max_users: int = Field(200, ge=0, description="users that are asked about, drawn; 0: all")
    candidates: int = Field(
        10, ge=2, le=50, description="un-interacted items that the pretrained CF model scores best"
    )
    wording: Path | None = Field(
        None, description="YAML file with the wording of questions; null: the library's own"
    )
    max_new_tokens: int = Field(48, ge=16, description="longest answer, in tokens")
