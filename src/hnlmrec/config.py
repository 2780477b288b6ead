"""The configuration of a whole run: one pydantic tree, read from YAML, validated as a whole.

Every section is frozen and forbids unknown keys. The defaults are those of the demo.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hnlmrec.errors import ConfigError

Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitConfig(Section):
    """How interactions are divided into training, validation and test."""

    method: Literal["ratio", "leave_one_out", "time"] = Field(
        "ratio",
        description="ratio: random shares of each user's items; leave_one_out: a user's last item "
        "to test and last but one to validation; time: the newest interactions of all users",
    )
    valid: Share = Field(0.1, description="share of interactions for validation (ratio, time)")
    test: Share = Field(0.1, description="share of interactions for test (ratio, time)")
    seed: int = Field(0, description="seed of the random split, the same for every model")

    @model_validator(mode="after")
    def _shares_leave_training(self) -> Self:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid + test is {self.valid + self.test:g} and must be below 1")
        return self


class DataConfig(Section):
    """Where interactions and item texts come from, and what is kept of them."""

    reader: Literal["table", "recbole", "movielens", "amazon"] = Field(
        "recbole",
        description="table: CSV/TSV/Parquet and JSONL item text; recbole: .inter and .item files; "
        "movielens: ratings.csv and movies.csv; amazon: raw reviews and metadata, JSON lines",
    )
    path: str = Field(
        "embedded:ml-100k",
        description="the folder that holds the files, or embedded:ml-100k (from the recbole wheel)",
    )
    interactions: str | None = Field(
        None, description="file of interactions in path; by default the reader finds it"
    )
    items: str | None = Field(
        None, description="file of item texts in path; by default the reader finds it"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="names of columns, as user|item|rating|timestamp: name in the file (table)",
    )
    min_rating: float | None = Field(4.0, description="ratings below are dropped; null keeps all")
    since: date | None = Field(None, description="first day kept (UTC)")
    until: date | None = Field(None, description="last day kept (UTC), inclusive")
    core: int = Field(5, ge=1, description="k of the iterative k-core of users and items")
    split: SplitConfig = SplitConfig()


class LanguageConfig(Section):
    """The language model that writes profiles and encodes queries."""

    model: str = Field(
        "embedded:smollm2",
        description="embedded:smollm2, embedded:minilm, a Hugging Face folder, a .gguf file, or "
        "the name of a model that is already in the local Hugging Face cache",
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        "auto", description="auto: bfloat16 where the device computes in it, else float32"
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps")
    batch_tokens: int = Field(1024, ge=64, description="token budget of an encoding batch")
    max_tokens: int = Field(40, ge=8, description="tokens kept of a query or a text")


class ProfileConfig(Section):
    """Who writes the profiles of users and items."""

    generator: Literal["template", "llm"] = Field(
        "template", description="template: compose metadata; llm: ask the model for every profile"
    )
    llm_sample_users: int = Field(
        3, ge=0, description="with template: users whose profile the LLM writes all the same"
    )
    llm_sample_items: int = Field(3, ge=0, description="with template: likewise for items")
    history: int = Field(
        8, ge=1, description="training items of a user that a profile is written from"
    )
    max_new_tokens: int = Field(160, ge=16, description="longest answer of the LLM, in tokens")
    batch_size: int = Field(8, ge=1, description="profiles generated together")


class SupervisionConfig(Section):
    """Which item is the hard negative of a training pair."""

    strategy: Literal["cf_semantic", "cf", "semantic", "random"] = Field(
        "cf_semantic",
        description="cf_semantic: of the user's CF-hardest items, the near ones in meaning; "
        "cf: CF-hardest; semantic: nearest in meaning; random: any un-interacted item",
    )
    top_k: int = Field(50, ge=1, description="how many hardest items are candidates")
    margin: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="items scored above (1 - margin) of the user's mean positive score are left "
        "out as likely false negatives",
    )
    temperature: float = Field(
        0.1, gt=0, description="of the softmax over semantic similarity that weighs candidates"
    )


class FinetuneConfig(Section):
    """Contrastive fine-tuning of the language model (LoRA) and of the amortized head."""

    steps: int = Field(10, ge=0, description="LoRA steps through the language model")
    batch_users: int = Field(5, ge=1, description="users in a LoRA batch")
    pairs_per_user: int = Field(4, ge=1, description="training pairs of each user in a batch")
    lr: float = Field(5e-4, gt=0, description="learning rate of LoRA and soft tokens")
    rank: int = Field(32, ge=1, description="rank of LoRA")
    dropout: float = Field(0.05, ge=0, lt=1, description="dropout of LoRA")
    temperature: float = Field(0.05, gt=0, description="temperature of the contrastive objective")
    objective: Literal["log_sigmoid", "infonce"] = Field(
        "log_sigmoid", description="log_sigmoid: the paper's in-batch pairwise loss; infonce"
    )
    collaborative: Literal["soft_tokens", "text", "none"] = Field(
        "soft_tokens",
        description="how CF embeddings enter a query: projected soft tokens, digits, not at all",
    )
    pooling: Literal["mean", "last"] = Field("mean", description="pooling of hidden states")
    head_steps: int = Field(400, ge=1, description="steps of the amortized head on cached states")
    head_batch: int = Field(512, ge=2, description="pairs in a batch of the head")
    head_lr: float = Field(1e-3, gt=0, description="learning rate of the head")
    held_out: Share = Field(0.1, description="share of training pairs that picks the checkpoint")
    evaluate_every: int = Field(4, ge=1, description="LoRA steps between held-out evaluations")


class SynthesisConfig(Section):
    """How hard-negative embeddings are learned and written."""

    mode: Literal["amortized", "pairwise"] = Field(
        "amortized",
        description="amortized: LLM passes over users and items and a head for pairs; pairwise: "
        "one LLM pass a training pair (the paper)",
    )
    supervision: SupervisionConfig = SupervisionConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    chunk_pairs: int = Field(8192, ge=1, description="pairs written between two resume points")
    pretrain_epochs: int = Field(
        20,
        ge=1,
        description="epochs of the CF model that supervises (fixed: it sees no validation)",
    )


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
    lr: float = Field(5e-3, gt=0, description="learning rate of Adam")
    l2: float = Field(1e-4, ge=0, description="L2 of the layer-0 embeddings of a batch")
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


def _demo_models() -> dict[str, dict[str, Any]]:
    semantic = {"name": "semantic", "base": {"name": "dns"}}
    return {
        "uniform": {},
        "dns": {"sampler": {"name": "dns"}},
        "hnlmrec": {"sampler": semantic, "alignment": {"weight": 0.01}},
        "noise": {"sampler": {**semantic, "source": "noise"}, "alignment": {"weight": 0.01}},
    }


class EvaluationConfig(Section):
    """What is measured on the test part."""

    cutoffs: tuple[int, ...] = Field((10, 20), min_length=1, description="K of the metrics")
    chunk_users: int = Field(1024, ge=1, description="users ranked together")
    reference: str = Field("dns", description="model that the others are tested against")


class RunConfig(Section):
    """The whole run."""

    run: Path = Field(Path("runs/movielens-100k"), description="the folder of all artefacts")
    seed: int = Field(0, description="seed of profiles, fine-tuning and synthesis")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="a training run a seed")
    threads: int = Field(0, ge=0, description="threads of torch; 0: one for each core")
    data: DataConfig = DataConfig()
    language: LanguageConfig = LanguageConfig()
    profile: ProfileConfig = ProfileConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    backbone: BackboneConfig = BackboneConfig()
    training: TrainingConfig = TrainingConfig()
    models: dict[str, ModelConfig] = Field(
        default_factory=_demo_models,
        validate_default=True,
        min_length=1,
        description="name: what it changes of the shared sections backbone and training",
    )
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _models_inherit_shared_sections(cls, tree: Any) -> Any:
        """Put the shared ``backbone`` and ``training`` under what each model sets itself."""
        if not isinstance(tree, dict) or not isinstance(tree.get("models", {}), dict):
            return tree
        models = tree["models"] if "models" in tree else _demo_models()
        shared = {key: tree[key] for key in ("backbone", "training") if key in tree}
        merged = {
            name: merge(shared, model) if isinstance(model, dict | None) else model
            for name, model in models.items()
        }
        return {**tree, "models": merged}

    @field_validator("models")
    @classmethod
    def _model_names_are_file_names(cls, models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        for name in models:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
                raise ValueError(f"{name!r} names a folder: use letters, digits, '_', '.' and '-'")
        return models

    @model_validator(mode="after")
    def _reference_exists(self) -> Self:
        if self.evaluation.reference not in self.models:
            raise ValueError(
                f"evaluation.reference is {self.evaluation.reference!r} and must be one of "
                f"the models: {', '.join(self.models)}"
            )
        return self

    @classmethod
    def from_dict(cls, tree: dict[str, Any], *, where: str = "configuration") -> Self:
        """Validate a tree; raise a ConfigError that names every wrong key."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(_explain(error), where=where, mend=_MEND) from None

    @classmethod
    def from_yaml(cls, path: Path, overrides: dict[str, Any] | None = None) -> Self:
        """Read a YAML file; ``overrides`` is a tree that replaces what the file says."""
        return cls.from_dict(merge(read_yaml(path), overrides), where=str(path))

    def to_yaml(self) -> str:
        """The whole tree, defaults included, as YAML that reads back to the same config."""
        text: str = yaml.safe_dump(
            self.model_dump(mode="json"), sort_keys=False, allow_unicode=True
        )
        return text


_MEND = "change these keys; `hnlmrec init` writes a config with every key explained"


def merge(base: dict[str, Any], over: dict[str, Any] | None) -> dict[str, Any]:
    """``over`` laid on ``base``, recursively, without changing either."""
    merged = dict(base)
    for key, value in (over or {}).items():
        old = merged.get(key)
        merged[key] = (
            merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; a ConfigError that names the line when it is not one."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            "there is no such file", where=str(path), mend="`hnlmrec init` writes a config"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"this is not YAML: {error}", where=str(path)) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(
            f"expected keys and values, found a {type(tree).__name__}", where=str(path), mend=_MEND
        )
    return tree


def _explain(error: ValidationError) -> str:
    """Each wrong key with its reason, one after the other."""
    lines = []
    for item in error.errors(include_url=False):
        key = _written_key(item["loc"]) or "the whole"
        reason = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            reason = "there is no such key"
        given = item.get("input")
        shown = "" if isinstance(given, dict) else f" (given: {given!r})"
        lines.append(f"{key}: {reason}{shown}")
    return "; ".join(lines)


def _written_key(path: tuple[int | str, ...]) -> str:
    """A pydantic path as the user wrote it: without the tag behind a key that holds a union."""
    unions = ("sampler", "base")
    kept = [
        part
        for before, part in zip((None, *path), path, strict=False)
        if before not in unions or part not in ("uniform", "dns", "semantic")
    ]
    return ".".join(map(str, kept))
