"""A FAISS index of the items, and how often it finds what an exact search finds."""

from __future__ import annotations

import numpy as np

from hnlmrec.evaluation.ranking import top_items
from hnlmrec.language.extras import require
from hnlmrec.negatives.protocol import EmbeddingView

INDEX = "items.faiss"
RECALL_AT = 20
_NEIGHBOURS, _BREADTH = 32, 128
_USERS = 1000


def item_index(view: EmbeddingView, seed: int) -> tuple[bytes, float]:
    """Index the items by inner product (HNSW), and ask it for users.

    Parameters
    ----------
    view
        Embeddings that score.
    seed
        Of the sample of users that ask.

    Returns
    -------
    tuple[bytes, float]
        What `faiss.read_index` reads, entry ``i`` being item ``i``; and the share of the best
        `RECALL_AT` items of 1,000 users that it finds.

    Raises
    ------
    ModelError
        When faiss is not installed.
    """
    require("faiss", "index", "an index of the items")
    import faiss

    items = np.ascontiguousarray(view.items.detach().cpu().numpy(), dtype=np.float32)
    index = faiss.IndexHNSWFlat(items.shape[1], _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = index.hnsw.efSearch = _BREADTH
    index.add(items)
    n = len(view.users)
    some = np.random.default_rng(seed).permutation(n)[:_USERS]
    queries = view.users.detach().cpu()[some]
    k = min(RECALL_AT, len(items))
    exact = top_items(queries, view.items.detach().cpu(), some, [], k)
    found = index.search(queries.numpy(), k)[1]
    hit = (exact[:, :, None] == found[:, None, :]).any(axis=2)
    return faiss.serialize_index(index).tobytes(), float(hit.mean())
