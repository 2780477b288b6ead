"""Hard negatives to take elsewhere: of each training pair the nearest item of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import torch
from torch.nn import functional as F

from hnlmrec.config import ModelConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ConfigError
from hnlmrec.evaluation.ranking import NOTHING
from hnlmrec.studies.sampled import nearest_items, restored
from hnlmrec.training.artefacts import LanguageArtefacts
from hnlmrec.training.model import TrainedModel

_PAIRS = 16_384


@torch.no_grad()
def hard_negatives(
    trained: TrainedModel,
    config: ModelConfig,
    interactions: Interactions,
    language: LanguageArtefacts | None,
    seed: int,
) -> Iterator[pl.DataFrame]:
    """The synthesised negative of each training pair as an item, block by block.

    The item is the nearest by cosine in CF space that the user has not in training; of a pair
    without a synthesised vector there is no row.

    Yields
    ------
    DataFrame
        ``user``, ``positive``, ``negative`` (indices), ``similarity`` (cosine of the synthesised
        embedding and the item's), ``score_positive`` and ``score_negative`` (of the CF model).

    Raises
    ------
    ConfigError
        When the model has no synthesised negatives.
    """
    learner, view = restored(trained, config, interactions, language, seed)
    if learner.semantic is None:
        raise ConfigError(
            "the model trains without synthesised negatives",
            where="--model",
            mend="name one whose sampler is semantic",
        )
    users, positives = (part.astype(np.int64) for part in interactions.pairs("train"))
    for index in torch.arange(len(users)).split(_PAIRS):
        vectors, present = learner.semantic.source.vectors(index)
        hard = learner.semantic.adapter(vectors)
        some = users[index.numpy()]
        found = nearest_items(hard[:, None], some, view, interactions)[:, 0]
        there = torch.from_numpy(found != NOTHING) & present
        rows, negatives = index[there].numpy(), torch.from_numpy(found)[there]
        user = torch.from_numpy(users[rows])
        positive = torch.from_numpy(positives[rows])
        scored = {
            name: (view.users[user] * view.items[items]).sum(dim=1).numpy()
            for name, items in (("score_positive", positive), ("score_negative", negatives))
        }
        similarity = F.cosine_similarity(hard[there], view.items[negatives])
        columns = {"user": user, "positive": positive, "negative": negatives}
        yield pl.DataFrame(
            {name: column.numpy() for name, column in columns.items()}
            | {"similarity": similarity.numpy()}
            | scored
        )


def with_ids(block: pl.DataFrame, interactions: Interactions) -> pl.DataFrame:
    """Users' and items' own ids in the place of indices."""
    items = interactions.item_ids
    return block.select(
        interactions.user_ids.gather(block["user"]).alias("user_id"),
        items.gather(block["positive"]).alias("positive_id"),
        items.gather(block["negative"]).alias("negative_id"),
        "similarity",
        "score_positive",
        "score_negative",
    )


def with_texts(block: pl.DataFrame, users: list[str], items: list[str]) -> pl.DataFrame:
    """Profiles in the place of indices: the triplets that sentence-transformers trains on."""
    of_users, of_items = pl.Series(users), pl.Series(items)
    return pl.DataFrame(
        {
            "anchor": of_users.gather(block["user"]),
            "positive": of_items.gather(block["positive"]),
            "negative": of_items.gather(block["negative"]),
        }
    )
