"""Training of CF models: the learner, the loop with early stopping, checkpoints."""

from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.learner import Learner, build_learner
from hnlmrec.training.model import TrainedModel
from hnlmrec.training.trainer import TrainReport, pretrain, train

__all__ = [
    "LanguageArtefacts",
    "Learner",
    "TrainReport",
    "TrainedModel",
    "build_learner",
    "pretrain",
    "train",
]
