"""`RunConfig`: the whole run; its defaults are those of the demo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from hnlmrec.config.baselines import PickConfig
from hnlmrec.config.data import DataConfig, Seed
from hnlmrec.config.engine import EngineConfig
from hnlmrec.config.language import LanguageConfig, ProfileConfig, SynthesisConfig
from hnlmrec.config.loading import MEND, explain, merge, read_yaml
from hnlmrec.config.models import BackboneConfig, ModelConfig, TrainingConfig
from hnlmrec.config.privacy import PrivacyConfig
from hnlmrec.config.section import Section
from hnlmrec.errors import ConfigError

# to Windows these are devices, whatever follows behind a dot
_RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
}


def _strings(tree: Any) -> Iterator[str]:
    """All strings in nested plain values, keys too."""
    if isinstance(tree, dict):
        yield from _strings([*tree.keys(), *tree.values()])
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from _strings(part)
    elif isinstance(tree, str | Path):
        yield str(tree)


# keys that change nothing of what a run writes: where it is, which processes compute it and in what
# pieces, whom it asks and how patiently, what its data should hold, when it stops
NO_CONTENT = (
    "run",
    "engine",
    "data.expected",
    "data.strict",
    "language.answers",
    "language.server",
    "synthesis.finetune.micro_batch",
    "synthesis.finetune.shard",
    "profile.max_fallback_share",
)


def demo_models() -> dict[str, dict[str, Any]]:
    """Models of the demo: their changes of the shared sections."""
    semantic = {"name": "semantic", "base": {"name": "dns"}, "enter": "text", "shared": True}
    texts = {"weight": 0.01, "interaction_weight": 0.03}
    return {
        "uniform": {},
        "dns": {"sampler": {"name": "dns"}},
        "alignment": {"sampler": {"name": "dns"}, "alignment": {"weight": 0.01}},
        "texts": {"sampler": {"name": "dns"}, "alignment": texts},
        "hnlmrec": {"sampler": semantic, "alignment": texts},
        "noise": {"sampler": {**semantic, "source": "noise"}, "alignment": texts},
    }


class EvaluationConfig(Section):
    """What is measured on the test part."""

    cutoffs: tuple[int, ...] = Field((10, 20), min_length=1, description="K of the metrics")
    chunk_users: int = Field(1024, ge=1, description="users ranked together")
    reference: str = Field("dns", description="model that the others are tested against")


class RunConfig(Section):
    """The whole run."""

    run: Path = Field(Path("runs/movielens-100k"), description="the folder of all artefacts")
    seed: Seed = Field(0, description="seed of profiles, fine-tuning and synthesis")
    seeds: tuple[Seed, ...] = Field((0,), min_length=1, description="a training run a seed")
    threads: int = Field(
        0,
        ge=0,
        description="threads of torch; 0: one for each core. Compiled loops take as many of them "
        "as a short trial finds worth while",
    )
    engine: EngineConfig = EngineConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    data: DataConfig = DataConfig()
    language: LanguageConfig = LanguageConfig()
    profile: ProfileConfig = ProfileConfig()
    synthesis: SynthesisConfig = SynthesisConfig()
    pick: PickConfig = PickConfig()
    backbone: BackboneConfig = BackboneConfig()
    training: TrainingConfig = TrainingConfig()
    models: dict[str, ModelConfig] = Field(
        default_factory=demo_models,
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
        models = tree["models"] if "models" in tree else demo_models()
        shared = {key: tree[key] for key in ("backbone", "training") if key in tree}
        merged = {
            name: merge(shared, model) if isinstance(model, dict | None) else model
            for name, model in models.items()
        }
        return {**tree, "models": merged}

    @model_validator(mode="before")
    @classmethod
    def _no_string_has_nul(cls, tree: Any) -> Any:
        """Refuse what no path can hold; the system would only say so when it meets it."""
        if any("\0" in text for text in _strings(tree)):
            raise ValueError("a string holds a NUL character")
        return tree

    @field_validator("models")
    @classmethod
    def _model_names_are_file_names(cls, models: dict[str, ModelConfig]) -> dict[str, ModelConfig]:
        for name in models:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}", name):
                raise ValueError(
                    f"{name!r} names a folder: use letters, digits, '_', '.' and '-', 200 at most"
                )
            if name.partition(".")[0].lower() in _RESERVED:
                raise ValueError(f"{name!r} cannot name a folder on Windows: choose another")
        return models

    @model_validator(mode="after")
    def _reference_exists(self) -> Self:
        if self.evaluation.reference not in self.models:
            raise ValueError(
                f"evaluation.reference is {self.evaluation.reference!r} and must be one of "
                f"the models: {', '.join(self.models)}"
            )
        return self

    @model_validator(mode="after")
    def _live_negatives_have_a_head(self) -> Self:
        live = [name for name, model in self.models.items() if model.source == "live"]
        if live and self.synthesis.mode != "amortized":
            raise ValueError(
                f"sampler.source of {', '.join(live)} is live and synthesis.mode is "
                f"{self.synthesis.mode}: only amortized has a head that computes negatives"
            )
        return self

    @property
    def learns_from_profiles(self) -> bool:
        """Whether fine-tuning reads the vectors of users' profiles as the server gives them."""
        return self.language.served_model is not None and self.synthesis.user_states == "profile"

    @classmethod
    def from_dict(cls, tree: dict[str, Any], *, where: str = "configuration") -> Self:
        """Validate a tree; raise a ConfigError that names every wrong key."""
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(explain(error), where=where, mend=MEND) from None

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
