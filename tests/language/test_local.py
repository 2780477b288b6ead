from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hnlmrec.config import FinetuneConfig, LanguageConfig
from hnlmrec.errors import ModelError
from hnlmrec.language import Answer, LocalLanguageModel, mean_pool
from hnlmrec.synthesis.query import QueryEncoder
from tiny_language_model import build_tiny_language_model

TEXTS = ["Toy Story", "a", "Likes drama, comedy and action; watched Star Wars.", "", "Alien"] * 3
SCHEMA = {
    "type": "object",
    "properties": {
        "genre": {"enum": ["Drama", "Comedy"]},
        "year": {"type": "integer", "minimum": 1900, "maximum": 1999},
    },
    "required": ["genre", "year"],
    "additionalProperties": False,
}
PROMPTS = [[{"role": "user", "content": "Toy Story " * n}] for n in (1, 9, 3)]


def test_mean_pool_by_hand() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [9.0, 9.0]], [[7.0, 7.0]] * 3])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert mean_pool(states, mask).tolist() == [[2.0, 4.0], [0.0, 0.0]]


def test_encodes_one_vector_a_text_in_order(tiny: LocalLanguageModel) -> None:
    vectors = tiny.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), tiny.width) == (15, 32)
    assert vectors.dtype == torch.float32
    assert torch.equal(vectors[:5], vectors[5:10])
    assert not vectors[3].any()
    assert tiny.encode([]).shape == (0, 32)


def test_a_vector_is_the_mean_of_its_own_hidden_states(tiny: LocalLanguageModel) -> None:
    inputs = tiny.tokenizer(TEXTS[2], return_tensors="pt")
    with torch.inference_mode():
        states = tiny.network(**inputs, output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(tiny.encode(TEXTS)[2], states[0].mean(dim=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("batch_tokens", [64, 100, 10_000])
def test_vectors_do_not_depend_on_the_batch(tiny: LocalLanguageModel, batch_tokens: int) -> None:
    alone = torch.cat([tiny.encode([text]) for text in TEXTS])
    other = LocalLanguageModel(
        tiny.network, tiny.tokenizer, batch_tokens=batch_tokens, max_tokens=64
    )
    torch.testing.assert_close(other.encode(TEXTS), alone, atol=1e-5, rtol=1e-5)


def test_vectors_can_be_trained_against(tiny: LocalLanguageModel) -> None:
    weight = torch.ones(tiny.width, requires_grad=True)
    (tiny.encode(TEXTS[:1]) * weight).sum().backward()
    assert weight.grad is not None


def test_texts_are_cut_at_max_tokens(tiny: LocalLanguageModel) -> None:
    short = LocalLanguageModel(tiny.network, tiny.tokenizer, batch_tokens=64, max_tokens=8)
    long = "drama " * 50
    ids = tiny.tokenizer(long)["input_ids"][:8]
    torch.testing.assert_close(
        short.encode([long]), short.encode([tiny.tokenizer.decode(ids)]), atol=1e-5, rtol=1e-5
    )


def test_generates_json_of_the_schema_in_order(tiny: LocalLanguageModel) -> None:
    def ask(batch_size: int) -> list[str]:
        answers = tiny.generate_json(PROMPTS, SCHEMA, max_new_tokens=64, batch_size=batch_size)
        places, written = zip(*answers, strict=True)
        assert places == (0, 1, 2)
        assert all(answer.whole for answer in written)
        return [answer.text for answer in written]

    answers = ask(2)
    assert len(answers) == 3
    for answer in map(json.loads, answers):
        assert answer["genre"] in ("Drama", "Comedy")
        assert isinstance(answer["year"], int)
    assert ask(1) == ask(3) == answers


def test_answers_come_batch_by_batch(
    tiny: LocalLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    answers = tiny._generator.answers

    def record(prompts: list[object], *rest: object) -> list[Answer]:
        batches.append(len(prompts))
        return answers(prompts, *rest)

    monkeypatch.setattr(tiny._generator, "answers", record)
    written = tiny.generate_json(PROMPTS, SCHEMA, max_new_tokens=16, batch_size=2)
    next(written)
    assert batches == [2]
    assert len(list(written)) == 2
    assert batches == [2, 1]


def test_an_answer_without_room_is_cut(tiny: LocalLanguageModel) -> None:
    ((_, answer),) = tiny.generate_json(PROMPTS[:1], SCHEMA, max_new_tokens=3, batch_size=1)
    assert answer.text.startswith('{"')
    assert not answer.whole
    assert answer.answer_tokens == 3
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text)


def test_tokens_are_counted_without_padding(tiny: LocalLanguageModel) -> None:
    answers = dict(tiny.generate_json(PROMPTS, SCHEMA, max_new_tokens=64, batch_size=3))
    for place, prompt in enumerate(PROMPTS):
        asked = tiny.tokenizer.apply_chat_template(prompt, add_generation_prompt=True)["input_ids"]
        assert answers[place].prompt_tokens == len(asked)
        written = tiny.tokenizer(answers[place].text, add_special_tokens=False)["input_ids"]
        # and the token of the end
        assert answers[place].answer_tokens == len(written) + 1


def test_a_schema_that_cannot_be_enforced_is_named(tiny: LocalLanguageModel) -> None:
    with pytest.raises(ModelError, match="schema cannot be enforced"):
        list(tiny.generate_json(PROMPTS, {"type": "fish"}, max_new_tokens=8, batch_size=2))


def test_a_model_without_chat_template_and_pad_token_works(tmp_path: Path) -> None:
    folder = build_tiny_language_model(tmp_path)
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = LocalLanguageModel.load(LanguageConfig(model=str(folder), dtype="float32"))
    assert model.tokenizer.chat_template is None
    assert model.tokenizer.pad_token == "</s>"
    answers = list(model.generate_json(PROMPTS, SCHEMA, max_new_tokens=64, batch_size=3))
    assert all(json.loads(answer.text) for _, answer in answers)


@pytest.fixture(scope="module")
def encoder_folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertModel(BertConfig(vocab_size=len(tokenizer), intermediate_size=16, **sizes)).save_pretrained(
        folder
    )
    return folder


def test_an_encoder_encodes_but_cannot_write(encoder_folder: Path) -> None:
    model = LocalLanguageModel.load(LanguageConfig(model=str(encoder_folder), dtype="float32"))
    alone = torch.cat([model.encode([text]) for text in TEXTS if text])
    together = model.encode([text for text in TEXTS if text])
    assert together.shape[1] == model.width == 16
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(ModelError, match="encodes texts but cannot write any"):
        list(model.generate_json(PROMPTS, SCHEMA, max_new_tokens=8, batch_size=2))


def test_weights_of_four_bits_encode_write_and_learn_nearly_alike(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the quantised extra")
    # weights are packed in blocks of 64, and some CPUs can only use whole ones
    tiny_model = build_tiny_language_model(tmp_path, width=128)
    settings = {"model": str(tiny_model), "device": "cpu"}
    packed = LocalLanguageModel.load(LanguageConfig(dtype="4bit", **settings))
    plain = LocalLanguageModel.load(LanguageConfig(dtype="float32", **settings))
    layer = packed.model.layers[0].self_attn.q_proj
    assert layer.weight.numel() * 2 == plain.model.layers[0].self_attn.q_proj.weight.numel()
    texts = [text for text in TEXTS if text]
    near = torch.cosine_similarity(packed.encode(texts), plain.encode(texts))
    assert 0.97 < near.min() < 1
    answers = list(packed.generate_json(PROMPTS, SCHEMA, max_new_tokens=64, batch_size=3))
    assert all(json.loads(answer.text) for _, answer in answers)
    # LoRA learns on top of the packed weights, which stay as they are
    encoder = QueryEncoder(packed, FinetuneConfig(rank=4), 8, torch.Generator().manual_seed(0))
    encoder.add_lora(0)
    before = layer.weight.clone()
    parameters = encoder.trainable()
    optimizer = torch.optim.SGD(parameters.values(), lr=1.0)
    encoder(encoder.segments("item", texts, torch.ones(len(texts), 8))).square().sum().backward()
    assert all(p.grad is not None for name, p in parameters.items() if "lora_B" in name)
    optimizer.step()
    assert torch.equal(layer.weight, before)


def test_exposes_what_synthesis_needs(tiny: LocalLanguageModel) -> None:
    ids = tiny.tokenizer("Toy Story", return_tensors="pt")
    embedded = tiny.input_embeddings(ids["input_ids"])
    states = tiny.model(inputs_embeds=embedded, attention_mask=ids["attention_mask"])
    assert states.last_hidden_state.shape[2] == tiny.width
    assert not any("lm_head" in name for name, _ in tiny.model.named_parameters())


def spoil_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "no-such-architecture"}')


def spoil_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights")


@pytest.mark.parametrize("spoil", [spoil_config, spoil_weights])
def test_a_damaged_model_is_named(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    folder = build_tiny_language_model(tmp_path / "spoiled")
    spoil(folder)
    with pytest.raises(ModelError, match="spoiled: transformers cannot load this model"):
        LocalLanguageModel.load(LanguageConfig(model=str(folder)))
