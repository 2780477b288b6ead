"""The stage `encode`: what it writes, what it reads again, and which models need it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hnlmrec.config import ModelConfig, RunConfig
from hnlmrec.errors import ArtifactError
from hnlmrec.plan import model_needs, plan
from hnlmrec.synthesis.encode import encode
from hnlmrec.synthesis.states import load_untuned, unit_vectors
from openai_server import serve, vector_of
from synthesis_cases import language_config, load_language, synthesis_config
from synthetic import small_tree, write_files

TEXTS = ["A quiet film.", "Action, War", "A quiet film.", "x " * 200, ""]


class _Stopped(Exception):
    pass


def _encode(model: Path, folder: Path, kind: str = "item", pooling: str = "mean", progress=None):
    folder.mkdir(parents=True, exist_ok=True)
    finetune = synthesis_config(pooling=pooling).finetune
    return encode(kind, TEXTS, language_config(model), finetune, folder, progress)


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("kind", ["user", "item"])
def test_a_vector_is_the_pooled_state_of_the_worded_text(
    kind: str, pooling: str, tiny_model: Path, tmp_path: Path
) -> None:
    report = _encode(tiny_model, tmp_path, kind, pooling)
    language = load_language(tiny_model)
    prompts = [f"{kind.capitalize()}: {text}" for text in TEXTS]
    ids = [language.tokenizer(p, truncation=True, max_length=24)["input_ids"] for p in prompts]
    expected = []
    for row in ids:
        with torch.no_grad():
            states = language.model(torch.tensor([row])).last_hidden_state[0]
        expected.append(states[-1] if pooling == "last" else states.mean(dim=0))
    expected = torch.stack(expected).numpy()
    table = load_untuned(tmp_path)
    np.testing.assert_allclose(table.read_all(), expected, atol=2e-3)
    centred = expected - expected.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(unit_vectors(table), unit, atol=5e-3)
    assert report.tokens == sum(map(len, ids))
    assert (report.texts, report.width, report.estimated) == (5, language.width, False)
    assert json.loads((tmp_path / "report.json").read_text())["tokens"] == report.tokens


def test_interrupted_it_encodes_what_misses_only(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hnlmrec.synthesis.encode.STATES_CHUNK", 2)

    def stop(text: str, done: int, total: int) -> None:
        if done == 4:
            raise _Stopped

    _encode(tiny_model, tmp_path / "whole")
    with pytest.raises(_Stopped):
        _encode(tiny_model, tmp_path / "stopped", progress=stop)
    assert load_untuned(tmp_path / "stopped").coverage() == 0.8
    seen: list[int] = []
    report = _encode(tiny_model, tmp_path / "stopped", progress=lambda _, n, __: seen.append(n))
    assert seen == [5]
    whole, resumed = (load_untuned(tmp_path / name).read_all() for name in ("whole", "stopped"))
    assert torch.equal(whole, resumed)
    assert report.tokens == _encode(tiny_model, tmp_path / "whole").tokens


def test_what_is_not_there_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="hnlmrec encode"):
        load_untuned(tmp_path)


def test_a_server_is_given_the_worded_text_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai", reason="needs the served extra")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve() as fake:
        server = {"base_url": fake.url, "timeout": 5, "retries": 0}
        language = language_config("openai:some/model", max_tokens=8, server=server)
        report = encode("user", TEXTS, language, synthesis_config().finetune, tmp_path)
    cut = [f"User: {text}"[:48] for text in TEXTS]
    np.testing.assert_allclose(
        load_untuned(tmp_path).read_all(), [vector_of(text) for text in cut], atol=2e-2
    )
    assert (report.tokens, report.estimated) == (sum(map(len, cut)) // 4, True)


SEMANTIC = {"sampler": {"name": "semantic"}, "alignment": {"weight": 0.1}}


def _semantic(source: str) -> dict[str, object]:
    return {**SEMANTIC, "sampler": {"name": "semantic", "source": source}}


@pytest.mark.parametrize(
    ("model", "needs"),
    [
        ({}, set()),
        ({"sampler": {"name": "dns"}}, set()),
        ({"alignment": {"weight": 0.1}}, {"encode/items"}),
        ({"alignment": {"interaction_weight": 0.1}}, {"encode/items"}),
        (_semantic("noise"), {"encode/items"}),
        (_semantic("synthesised"), {"encode/items", "synthesize"}),
        (_semantic("shuffled"), {"encode/items", "synthesize"}),
        (_semantic("live"), {"encode/items", "finetune", "pretrain"}),
        (_semantic("names"), {"encode/items", "name"}),
        (_semantic("grounded"), {"encode/items", "name"}),
    ],
)
def test_a_model_needs_what_it_reads(model: dict[str, object], needs: set[str]) -> None:
    assert set(model_needs(ModelConfig.model_validate(model))) == {"prepare", *needs}


def _section(tmp_path: Path, **changes: object) -> tuple[dict[str, object], tuple[str, ...]]:
    data = write_files(tmp_path / "data")
    tree = small_tree(data, Path("model"), tmp_path / "run")
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
    stages = plan(RunConfig.from_dict(tree))
    return stages["encode/items"].section, stages["finetune"].needs


def test_the_key_holds_what_decides_the_vectors_alone(tmp_path: Path) -> None:
    before, needs = _section(tmp_path)
    assert "encode/users" not in needs
    for same in (
        {"seed": 7},
        {"language": {"model": "model", "max_tokens": 24, "answers": "elsewhere.sqlite"}},
        {"synthesis": {"finetune": {"steps": 9}, "mode": "pairwise"}},
        {"training": {"epochs": 9}},
    ):
        assert _section(tmp_path, **same)[0] == before
    for other in (
        {"language": {"model": "model", "max_tokens": 25}},
        {"synthesis": {"finetune": {"pooling": "last"}}},
    ):
        assert _section(tmp_path, **other)[0] != before


@pytest.mark.parametrize("user_states", ["profile", "history"])
def test_a_server_is_asked_for_users_where_the_head_reads_them(
    user_states: str, tmp_path: Path
) -> None:
    changes = {"language": {"model": "openai:m"}, "synthesis": {"user_states": user_states}}
    section, needs = _section(tmp_path, **changes)
    assert section == {"model": "openai:m", "max_tokens": 24}
    assert ("encode/users" in needs) == (user_states == "profile")
