"""The configuration of a whole run: one pydantic tree, read from YAML, validated as a whole.

Every section is frozen and forbids unknown keys.
"""

from hnlmrec.config.baselines import BaselineConfig, PickConfig
from hnlmrec.config.data import DataConfig, ExpectedConfig, SplitConfig
from hnlmrec.config.engine import EngineConfig
from hnlmrec.config.language import (
    FinetuneConfig,
    LanguageConfig,
    ProfileConfig,
    RouteAConfig,
    ServerConfig,
    SupervisionConfig,
    SynthesisConfig,
)
from hnlmrec.config.loading import merge
from hnlmrec.config.losses import LossConfig
from hnlmrec.config.models import AlignmentConfig, BackboneConfig, ModelConfig, TrainingConfig
from hnlmrec.config.privacy import PrivacyConfig
from hnlmrec.config.run import NO_CONTENT, EvaluationConfig, RunConfig
from hnlmrec.config.samplers import (
    BaseSamplerConfig,
    DnsConfig,
    SamplerConfig,
    SemanticConfig,
    UniformConfig,
)

__all__ = [
    "NO_CONTENT",
    "AlignmentConfig",
    "BackboneConfig",
    "BaseSamplerConfig",
    "BaselineConfig",
    "DataConfig",
    "DnsConfig",
    "EngineConfig",
    "EvaluationConfig",
    "ExpectedConfig",
    "FinetuneConfig",
    "LanguageConfig",
    "LossConfig",
    "ModelConfig",
    "PickConfig",
    "PrivacyConfig",
    "ProfileConfig",
    "RouteAConfig",
    "RunConfig",
    "SamplerConfig",
    "SemanticConfig",
    "ServerConfig",
    "SplitConfig",
    "SupervisionConfig",
    "SynthesisConfig",
    "TrainingConfig",
    "UniformConfig",
    "merge",
]
