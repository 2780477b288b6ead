from __future__ import annotations

import numpy as np
import pytest
import torch

from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.synthesis.prefix import encode_sharing
from hnlmrec.synthesis.query import QueryEncoder
from synthesis_cases import DIM, synthesis_config

USERS = ["Likes drama.", "Likes action, comedy, and quite a few more things", ""]
ITEMS = ["Film 1: Drama", "Film 2", "Film 3: Drama, Romance, War and more", "Film 4", "Film 5"]
WHICH = np.array([1, 0, 1, 2, 1])


def _encoder(language: LocalLanguageModel, **changes: object) -> QueryEncoder:
    encoder = QueryEncoder(
        language, synthesis_config(**changes).finetune, DIM, torch.Generator().manual_seed(0)
    )
    encoder.add_lora(0)
    for name, parameter in encoder.trainable().items():
        if "lora_B" in name:
            # fresh LoRA does nothing
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    return encoder


@pytest.mark.parametrize("collaborative", ["soft_tokens", "text", "none"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("batch_tokens", [20, 4096])
def test_sharing_the_beginning_of_queries_changes_no_state(
    language: LocalLanguageModel, collaborative: str, pooling: str, batch_tokens: int
) -> None:
    language.batch_tokens = batch_tokens
    encoder = _encoder(language, collaborative=collaborative, pooling=pooling)
    embeddings = torch.randn(5, DIM, generator=torch.Generator().manual_seed(2))
    users = encoder.segments("user", USERS, embeddings[:3])
    items = encoder.segments("item", ITEMS, embeddings)
    each = encoder.encode(users.take(WHICH), items)
    torch.testing.assert_close(
        encode_sharing(encoder, users, items, WHICH), each, atol=1e-5, rtol=1e-5
    )


def test_a_shared_beginning_is_read_once(language: LocalLanguageModel) -> None:
    language.batch_tokens = 4096
    encoder = _encoder(language, collaborative="none")
    users = encoder.segments("user", USERS, None)
    items = encoder.segments("item", ITEMS, None)
    encode_sharing(encoder, users, items, WHICH)
    assert encoder.tokens_read == encoder.count(users).sum() + encoder.count(items).sum()


def test_a_model_that_cannot_share_encodes_each_query(
    language: LocalLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = _encoder(language)
    embeddings = torch.ones(5, DIM)
    users = encoder.segments("user", USERS, embeddings[:3])
    items = encoder.segments("item", ITEMS, embeddings)
    monkeypatch.setattr(type(language), "writes", property(lambda self: False))
    states = encode_sharing(encoder, users, items, WHICH)
    assert torch.equal(states, encoder.encode(users.take(WHICH), items))
