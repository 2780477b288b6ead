"""Names of stages, which are also their folders in the run folder."""

from __future__ import annotations

PREPARE, PROFILE, NAME, PRETRAIN = "prepare", "profile", "name", "pretrain"
ENCODE_ITEMS, ENCODE_USERS = "encode/items", "encode/users"
PICK = "pick"
FINETUNE, SYNTHESIZE, COMPARE = "finetune", "synthesize", "compare"
# those that ask the language model questions
ASKING = (PROFILE, NAME, PICK)


def train_name(model: str, seed: int) -> str:
    """Name of the stage that trains a model with a seed."""
    return f"train/{model}-seed{seed}"


def evaluate_name(model: str, seed: int) -> str:
    """Name of the stage that evaluates it."""
    return f"evaluate/{model}-seed{seed}"
