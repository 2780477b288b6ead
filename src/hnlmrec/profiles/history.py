"""The training items of a user that a profile is written from."""

from __future__ import annotations

import numpy as np
import polars as pl

from hnlmrec.data.interactions import Interactions, ItemTexts

_CATEGORIES = 4


def training_items(interactions: Interactions, texts: ItemTexts, seed: int) -> pl.DataFrame:
    """List the training items of every user in a random order that depends on the seed alone.

    Returns
    -------
    Columns ``user`` and ``item`` (int32), ``title``, ``categories``: a row a training pair, users
    ascending. The first rows of a user are a fair sample of the items.
    """
    users, items = interactions.pairs("train")
    catalogue = texts.frame.select("title", "categories").with_columns(
        item=pl.int_range(len(texts), dtype=pl.Int32)
    )
    order = np.random.default_rng(seed).random(len(users))
    return (
        pl.DataFrame({"user": users, "item": items, "order": order})
        .sort("user", "order")
        .drop("order")
        .join(catalogue, on="item", how="left", maintain_order="left")
    )


def dominant_categories(trained: pl.DataFrame) -> pl.DataFrame:
    """Name the commonest categories of each user's training items, the commonest first.

    Returns
    -------
    Columns ``user`` and ``categories`` (one string); users whose items have none are left out.
    """
    counted = (
        trained.select("user", category=pl.col("categories").str.split(", "))
        .explode("category")
        # the last one of a list may have been cut short
        .filter((pl.col("category") != "") & ~pl.col("category").str.ends_with("..."))
        .group_by("user", "category")
        .len()
        .sort("user", "len", "category", descending=[False, True, False])
    )
    return counted.group_by("user", maintain_order=True).agg(
        categories=pl.col("category").head(_CATEGORIES).str.join(", ")
    )
