"""The configuration of a whole run: one pydantic tree, read from YAML, validated as a whole.

Every section is frozen and forbids unknown keys.
"""

from hnlmrec.config.data import DataConfig, SplitConfig
from hnlmrec.config.language import (
    FinetuneConfig,
    LanguageConfig,
    ProfileConfig,
    SupervisionConfig,
    SynthesisConfig,
)
from hnlmrec.config.loading import merge
from hnlmrec.config.models import (
    AlignmentConfig,
    BackboneConfig,
    BaseSamplerConfig,
    DnsConfig,
    ModelConfig,
    SamplerConfig,
    SemanticConfig,
    TrainingConfig,
    UniformConfig,
)
from hnlmrec.config.run import EvaluationConfig, RunConfig

__all__ = [
    "AlignmentConfig",
    "BackboneConfig",
    "BaseSamplerConfig",
    "DataConfig",
    "DnsConfig",
    "EvaluationConfig",
    "FinetuneConfig",
    "LanguageConfig",
    "ModelConfig",
    "ProfileConfig",
    "RunConfig",
    "SamplerConfig",
    "SemanticConfig",
    "SplitConfig",
    "SupervisionConfig",
    "SynthesisConfig",
    "TrainingConfig",
    "UniformConfig",
    "merge",
]
