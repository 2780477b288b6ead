"""Recommenders trained with hard negatives synthesised by a large language model."""
