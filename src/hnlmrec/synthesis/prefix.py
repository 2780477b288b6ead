"""Pairwise queries that share their users: each user's profile is read once, and not for each pair.

A decoder's states depend on what stands before them alone. So the keys and values of a user's
part, once made, serve all queries that begin with it. The states are those of
`QueryEncoder.encode` but for rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from hnlmrec.language.extras import require
from hnlmrec.synthesis.query import QueryEncoder, Segments, Tokens, pool


@torch.inference_mode()
def encode_sharing(
    encoder: QueryEncoder, users: Segments, items: Segments, which: Tokens
) -> Tensor:
    """Encode queries of two segments, of which many begin alike; in evaluation mode.

    Parameters
    ----------
    encoder
        Of the queries. An encoder that reads both ways, or a model whose layers keep less than
        all keys and values, encodes each query by itself.
    users
        The segments that queries begin with.
    items
        The second segment of each query.
    which
        The number of the first segment of each query, int64 ``[B]``.

    Returns
    -------
    Tensor
        Pooled states, float32 ``[B, width]``.
    """
    if not shares_prefixes(encoder):
        return encoder.encode(users.take(which), items)
    was_training = encoder.training
    encoder.eval()
    states = torch.empty(len(items), encoder.width)
    lengths = encoder.count(items)
    # queries of a user side by side, users of a length side by side
    order = np.lexsort((which, encoder.count(users)[which]))
    together = max(1, encoder.language.batch_tokens // int(lengths.max(initial=1)))
    for start in range(0, len(order), together):
        rows = order[start : start + together]
        states[torch.from_numpy(rows)] = _encode(encoder, users, items.take(rows), which[rows])
    encoder.train(was_training)
    return states


def shares_prefixes(encoder: QueryEncoder) -> bool:
    """Whether the model reads from left to right and can keep all keys and values."""
    if not encoder.language.writes:
        return False
    cache = _cache(encoder)
    return bool(cache.is_croppable) and not any(cache.is_sliding)


def _encode(encoder: QueryEncoder, users: Segments, items: Segments, which: Tokens) -> Tensor:
    own, place = np.unique(which, return_inverse=True)
    rows = torch.from_numpy(place).to(encoder.language.device)
    cache = _cache(encoder)
    first, first_mask = encoder.embed(users.take(own))
    begun = encoder.body(
        inputs_embeds=first,
        attention_mask=first_mask.long(),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    cache.batch_select_indices(rows)
    second, second_mask = encoder.embed(items)
    before = first_mask[rows]
    mask = torch.cat([before, second_mask], dim=1)
    steps = torch.arange(second.shape[1], device=second.device)
    ended = encoder.body(
        inputs_embeds=second,
        attention_mask=mask.long(),
        # behind the last token of the user's part, not behind its padding
        position_ids=before.sum(dim=1, keepdim=True) + steps,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    if encoder.config.pooling == "last":
        return pool(ended.float(), second_mask, "last").cpu()
    whole = torch.cat([begun[rows], ended], dim=1)
    return pool(whole.float(), mask, encoder.config.pooling).cpu()


def _cache(encoder: QueryEncoder) -> Any:
    return require("transformers").DynamicCache(config=encoder.language.model.config)
