"""Embeddings to take elsewhere: tensors, ids, and a card that says what they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import yaml
from safetensors.torch import save

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.disk import replace_folder, write_atomically, writing
from hnlmrec.errors import ConfigError
from hnlmrec.negatives.protocol import EmbeddingView
from hnlmrec.recommending.index import INDEX, RECALL_AT, item_index
from hnlmrec.stage_names import evaluate_name, train_name

TENSORS, CARD = "embeddings.safetensors", "README.md"
_FILES = (TENSORS, "users.parquet", "items.parquet", CARD, INDEX)
_CARD = """\
---
library_name: hnlmrec
tags: [recommendation, collaborative-filtering]
---

# {model} (seed {seed})

Embeddings of {n_users:,} users and {n_items:,} items, {width} numbers each; the inner product of a
user's and an item's is the score. `{tensors}` holds `users` and `items`, float32; row `i` is the id
in row `i` of `users.parquet` and `items.parquet`.

```python
import polars as pl
from safetensors.numpy import load_file

tensors = load_file("{tensors}")
scores = tensors["users"][0] @ tensors["items"].T
ids = pl.read_parquet("items.parquet")["item_id"]
```

{indexed}Trained on {n_train:,} interactions by hnlmrec {version}. {found}

```yaml
{config}```
"""
_INDEXED = """\
`{index}` is a FAISS index (HNSW, inner product) of the items, entry `i` being row `i`. Of the best
{k} items of up to 1,000 users it finds {recall:.1%}; a larger `index.hnsw.efSearch` finds more.

"""


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds other things than an export.

    Raises
    ------
    ConfigError
        When there is something else.
    """
    others = [one.name for one in folder.iterdir()] if folder.is_dir() else []
    if folder.is_file() or set(others) - set(_FILES):
        raise ConfigError(
            "there is something else already", where=str(folder), mend="name another folder"
        )


def export_embeddings(
    view: EmbeddingView,
    interactions: Interactions,
    config: RunConfig,
    run: RunFolder,
    model: str,
    seed: int,
    folder: Path,
    *,
    index: bool = False,
) -> None:
    """Write tensors, ids and a card; the folder appears when it is whole.

    Parameters
    ----------
    view, interactions
        What to write, and whose ids.
    config, run, model, seed
        Where it comes from.
    folder
        A new one, or that of a former export.
    index
        Whether to add an index of the items.

    Raises
    ------
    ConfigError
        When the folder holds something else.
    ModelError
        When an index is wanted and faiss is not installed.
    """
    check_folder(folder)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    tensors = {"users": view.users, "items": view.items}
    with writing("the export", folder.parent):
        try:
            partial.mkdir(parents=True)
            plain = {name: value.detach().cpu().clone() for name, value in tensors.items()}
            write_atomically(partial / TENSORS, save(plain))
            interactions.user_ids.alias("user_id").to_frame().write_parquet(
                partial / "users.parquet"
            )
            interactions.item_ids.alias("item_id").to_frame().write_parquet(
                partial / "items.parquet"
            )
            indexed = ""
            if index:
                content, recall = item_index(view, seed)
                write_atomically(partial / INDEX, content)
                indexed = _INDEXED.format(index=INDEX, k=RECALL_AT, recall=recall)
            card = _card(view, interactions, config, run, model, seed, indexed)
            write_atomically(partial / CARD, card.encode())
            replace_folder(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _card(
    view: EmbeddingView,
    interactions: Interactions,
    config: RunConfig,
    run: RunFolder,
    model: str,
    seed: int,
    indexed: str,
) -> str:
    trained, tested = run.record(train_name(model, seed)), run.record(evaluate_name(model, seed))
    assert trained is not None
    found = "Not evaluated."
    if tested is not None:
        found = f"On held-out interactions of the test part: {tested.lines[0]}."
    return _CARD.format(
        model=model,
        seed=seed,
        n_users=interactions.n_users,
        n_items=interactions.n_items,
        width=view.items.shape[1],
        n_train=interactions.train.nnz,
        tensors=TENSORS,
        version=trained.versions.get("hnlmrec"),
        found=found,
        indexed=indexed,
        config=yaml.safe_dump(
            config.models[model].model_dump(mode="json"), sort_keys=False, allow_unicode=True
        ),
    )
