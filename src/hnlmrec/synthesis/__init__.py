"""Synthesis of hard negatives by a fine-tuned language model."""
