from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from hnlmrec.config import LanguageConfig
from hnlmrec.errors import ModelError
from hnlmrec.language import LocalLanguageModel
from hnlmrec.language import gguf as gguf_module
from hnlmrec.language.gguf import convert, default_cache

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def rotate_as_llama_cpp(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF stores the two halves of each head's rows of q and k interleaved."""
    first, second = weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(0, 1)
    return np.stack([first, second], axis=2).reshape(weight.shape)


def write_gguf(model: LocalLanguageModel, path: Path) -> Path:
    """The tiny model as a GGUF file with 8-bit embeddings, written after the format's naming."""
    gguf = pytest.importorskip("gguf")
    config, tokenizer = model.network.config, model.tokenizer
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokenizer))
    writer.add_tokenizer_model("gpt2")
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    special = set(tokenizer.all_special_tokens)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, tensor in model.network.state_dict().items():
        if name == "lm_head.weight":
            continue
        layer = re.match(r"model\.layers\.(\d+)\.(.+)\.weight", name)
        start, local = (f"blk.{layer[1]}.", layer[2]) if layer else ("", name[: -len(".weight")])
        weight = tensor.numpy()
        if local.endswith("q_proj"):
            weight = rotate_as_llama_cpp(weight, config.num_attention_heads)
        if local.endswith("k_proj"):
            weight = rotate_as_llama_cpp(weight, config.num_key_value_heads)
        kind = None
        if local == "model.embed_tokens":
            kind = gguf.GGMLQuantizationType.Q8_0
            weight = gguf.quantize(weight, kind)
        writer.add_tensor(f"{start}{NAMES[local]}.weight", weight, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def converted(tiny: LocalLanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    return convert(write_gguf(tiny, folder / "tiny.gguf"), folder / "cache")


def test_converted_weights_are_those_of_the_file(converted: Path, tiny: LocalLanguageModel) -> None:
    again = LocalLanguageModel.load(LanguageConfig(model=str(converted), dtype="float32"))
    texts = ["Toy Story (1995)", "Likes drama, comedy and action."]
    got, expected = again.encode(texts), tiny.encode(texts)
    # bfloat16 keeps 8 bits, Q8_0 as many
    assert torch.cosine_similarity(got, expected).min() > 0.999
    assert again.tokenizer.chat_template == tiny.tokenizer.chat_template


def test_the_folder_is_an_ordinary_bfloat16_model(converted: Path) -> None:
    from safetensors import safe_open

    with safe_open(converted / "model.safetensors", "pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds == {torch.bfloat16}
    assert "quantization_config" not in (converted / "config.json").read_text()
    assert [path.name for path in converted.parent.iterdir()] == [converted.name]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"a" * 100)
    return path


def test_converts_once(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def write(gguf: Path, folder: Path) -> None:
        calls.append(gguf)
        folder.mkdir()

    monkeypatch.setattr(gguf_module, "_write_model", write)
    left = tmp_path / "cache" / ".converting-killed" / "model"
    left.mkdir(parents=True)
    first = convert(file, tmp_path / "cache")
    assert not left.parent.exists()
    assert convert(file, tmp_path / "cache") == first
    assert len(calls) == 1
    # same name and size, other content
    file.write_bytes(b"a" * 99 + b"b")
    assert convert(file, tmp_path / "cache") != first
    assert len(calls) == 2


def test_the_converter_that_comes_second_takes_the_other_s_folder(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_second(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text("second")

    def write_first(gguf: Path, folder: Path) -> None:
        # while this one works, another converter starts and finishes
        monkeypatch.setattr(gguf_module, "_write_model", write_second)
        convert(file, tmp_path / "cache")
        folder.mkdir()
        (folder / "weights").write_text("first")

    monkeypatch.setattr(gguf_module, "_write_model", write_first)
    folder = convert(file, tmp_path / "cache")
    assert (folder / "weights").read_text() == "second"
    assert list((tmp_path / "cache").iterdir()) == [folder]


def test_an_interrupted_conversion_leaves_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(gguf: Path, folder: Path) -> None:
        folder.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf_module, "_write_model", fail)
    with pytest.raises(KeyboardInterrupt):
        convert(file, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_no_gguf_is_named(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    with pytest.raises(ModelError, match=r"m\.gguf: transformers cannot read this file"):
        convert(file, tmp_path / "cache")


def test_a_cache_that_cannot_be_made_is_named(file: Path) -> None:
    pytest.importorskip("gguf")
    with pytest.raises(ModelError, match="set HNLMREC_CACHE to a folder that can be written to"):
        convert(file, file / "cache")


def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HNLMREC_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.setenv("HNLMREC_CACHE", "")
    assert default_cache().parts[-3:] == (".cache", "hnlmrec", "models")
