"""Language models: finding, converting, encoding, constrained generation."""

from hnlmrec.language.batching import token_batches
from hnlmrec.language.local import LocalLanguageModel, mean_pool
from hnlmrec.language.locate import locate
from hnlmrec.language.protocol import Answer, LanguageModel, Message, Prompt

__all__ = [
    "Answer",
    "LanguageModel",
    "LocalLanguageModel",
    "Message",
    "Prompt",
    "locate",
    "mean_pool",
    "token_batches",
]
