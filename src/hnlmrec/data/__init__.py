"""Interactions and item texts: reading, filtering, splitting."""

from hnlmrec.data.interactions import Interactions, ItemTexts

__all__ = ["Interactions", "ItemTexts"]
