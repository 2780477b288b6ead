from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.synthesis.query import QueryEncoder, pool
from synthesis_cases import DIM, load_language, synthesis_config

TEXTS = ["Likes drama.", "Action", "Film 3: Drama, Romance, and quite a few more words here"]


def _encoder(language: LocalLanguageModel, **changes: object) -> QueryEncoder:
    config = synthesis_config(**changes).finetune
    encoder = QueryEncoder(language, config, DIM, torch.Generator().manual_seed(0))
    encoder.add_lora(0)
    return encoder


@pytest.mark.parametrize("collaborative", ["soft_tokens", "text", "none"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_training_and_inference_give_the_same_vector(
    language: LocalLanguageModel, collaborative: str, pooling: str
) -> None:
    encoder = _encoder(language, collaborative=collaborative, pooling=pooling)
    embeddings = torch.randn(3, DIM, generator=torch.Generator().manual_seed(1))
    users = encoder.segments("user", TEXTS, embeddings)
    items = encoder.segments("item", TEXTS[::-1], embeddings.flip(0))
    encoder.eval()
    in_training = encoder(users, items).detach()
    in_synthesis = encoder.encode(users, items)
    torch.testing.assert_close(in_training, in_synthesis, atol=1e-6, rtol=0)
    one_by_one = torch.cat(
        [encoder.encode(users.take(np.array([n])), items.take(np.array([n]))) for n in range(3)]
    )
    torch.testing.assert_close(in_synthesis, one_by_one, atol=1e-5, rtol=1e-4)


def test_the_collaborative_signal_changes_the_state_unless_it_is_off(
    language: LocalLanguageModel,
) -> None:
    one, other = torch.ones(1, DIM), -torch.ones(1, DIM)
    for collaborative, differs in (("soft_tokens", True), ("none", False)):
        encoder = _encoder(language, collaborative=collaborative)
        states = [encoder.encode(encoder.segments("user", TEXTS[:1], e)) for e in (one, other)]
        assert torch.allclose(*states, atol=1e-6) != differs


def test_digits_of_the_embedding_stand_behind_the_text(language: LocalLanguageModel) -> None:
    encoder = _encoder(language, collaborative="text")
    segments = encoder.segments("item", TEXTS[1:2], torch.eye(DIM)[:1])
    text = language.tokenizer.decode(segments.tokens[0])
    assert text.replace(" ", "").endswith("[1.00" + "0.00" * (DIM - 1) + "]")


def test_gradients_reach_lora_and_soft_tokens_and_nothing_of_the_base(
    language: LocalLanguageModel,
) -> None:
    encoder = _encoder(language)
    embeddings = torch.randn(3, DIM, generator=torch.Generator().manual_seed(1))
    encoder.train()
    encoder(encoder.segments("user", TEXTS, embeddings)).square().sum().backward()
    trainable = dict(encoder.trainable().items())
    assert any("lora_A" in name for name in trainable)
    assert "soft/weight" in trainable
    for name, parameter in trainable.items():
        # B starts at zero, so that A gets its first gradient only after a step
        assert parameter.grad is not None, name
        if "lora_A" not in name:
            assert parameter.grad.abs().sum() > 0, name
    frozen = [p for p in encoder.parameters() if not p.requires_grad]
    assert frozen
    assert all(p.grad is None for p in frozen)


def test_what_is_trained_is_kept_in_single_precision_beside_a_half_precision_base(
    tiny_model: Path,
) -> None:
    encoder = _encoder(load_language(tiny_model, dtype="bfloat16"))
    assert {p.dtype for p in encoder.trainable().values()} == {torch.float32}
    embeddings = torch.ones(3, DIM)
    states = encoder(encoder.segments("user", TEXTS, embeddings))
    states.sum().backward()
    assert states.dtype == torch.float32
    assert encoder.soft is not None
    assert encoder.soft.weight.grad.isfinite().all()


def test_fresh_lora_does_not_change_the_states(tiny_model: Path) -> None:
    plain = QueryEncoder(
        load_language(tiny_model),
        synthesis_config().finetune,
        DIM,
        torch.Generator().manual_seed(0),
    )
    tuned = _encoder(load_language(tiny_model))
    before = plain.encode(plain.segments("item", TEXTS, None))
    after = tuned.encode(tuned.segments("item", TEXTS, None))
    torch.testing.assert_close(before, after)


def test_a_text_is_cut_and_an_empty_one_is_encoded(language: LocalLanguageModel) -> None:
    encoder = _encoder(language)
    segments = encoder.segments("user", ["word " * 500, ""], torch.zeros(2, DIM))
    assert max(map(len, segments.tokens)) <= language.max_tokens
    assert encoder.encode(segments).isfinite().all()


def test_pooling_leaves_padding_out() -> None:
    states = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [4.0], [9.0]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert pool(states, mask, "mean").tolist() == [[2.0], [5.0]]
    assert pool(states, mask, "last").tolist() == [[3.0], [9.0]]
