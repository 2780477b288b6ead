"""A server's embeddings in the place of a local model's states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import normalize
from typer.testing import CliRunner

pytest.importorskip("openai", reason="needs the served extra")

from hnlmrec.cli import app
from hnlmrec.config import SynthesisConfig
from hnlmrec.errors import ArtifactError, ConfigError, ModelError
from hnlmrec.synthesis.finetune import FinetuneReport, SynthesisInputs
from hnlmrec.synthesis.live import LiveNegatives
from hnlmrec.synthesis.served import finetune_served
from hnlmrec.synthesis.states import USER_STATES, unit_vectors
from hnlmrec.synthesis.synthesize import synthesize
from hnlmrec.synthesis.vectors import VectorTable
from openai_server import FakeServer, serve, vector_of
from synthesis_cases import encode_texts, language_config, synthesis_config
from synthetic import small_tree, write_files

CUT = 48  # letters: eight tokens


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve() as server:
        yield server


def served_config(**changes: Any) -> SynthesisConfig:
    finetune = changes.pop("finetune", {})
    tree = synthesis_config(head_steps=60).model_dump()
    tree["finetune"] |= {"steps": 0, **finetune}
    return SynthesisConfig.model_validate({**tree, **changes})


def tune(
    fake: FakeServer, config: SynthesisConfig, inputs: SynthesisInputs, folder: Path
) -> FinetuneReport:
    """Encode, and learn on what was encoded."""
    folder.mkdir(parents=True, exist_ok=True)
    return finetune_served(config, encoded(fake, inputs, folder), "some/model", folder, 0)


def encoded(fake: FakeServer, inputs: SynthesisInputs, folder: Path) -> SynthesisInputs:
    server = {"base_url": fake.url, "timeout": 5, "retries": 0}
    language = language_config("openai:some/model", max_tokens=CUT // 6, server=server)
    states = encode_texts(inputs.user_texts, inputs.item_texts, language, folder)
    return replace(inputs, encoded=states)


def texts_seen(fake: FakeServer) -> list[str]:
    return [text for body in fake.requests for text in body["input"]]


@pytest.mark.parametrize("user_states", ["profile", "history"])
def test_the_head_learns_on_embeddings_of_a_server(
    user_states: str, fake: FakeServer, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    config = served_config(user_states=user_states)
    report = tune(fake, config, inputs, tmp_path)
    phase = report.phases["head"]
    assert phase.after["loss"] < phase.before["loss"]
    items = torch.tensor([vector_of(f"Item: {text}"[:CUT]) for text in inputs.item_texts])
    expected = normalize(items - items.mean(dim=0), dim=1)
    served = encoded(fake, inputs, tmp_path)
    torch.testing.assert_close(unit_vectors(served.encoded.items), expected, atol=2e-2, rtol=0)
    users = VectorTable.open(tmp_path / USER_STATES).read_all()
    if user_states == "profile":
        expected = torch.tensor([vector_of(f"User: {text}"[:CUT]) for text in inputs.user_texts])
    else:
        train = torch.from_numpy(inputs.interactions.train.toarray() > 0).float()
        expected = train @ items / train.sum(dim=1, keepdim=True)
    torch.testing.assert_close(users, expected, atol=2e-2, rtol=1e-3)
    assert synthesize(config, served, None, tmp_path, tmp_path, 0).coverage == 1


def test_no_embedding_is_asked_for_twice(
    fake: FakeServer, inputs: SynthesisInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hnlmrec.synthesis.encode._CHUNK", 8)
    # the width, two chunks of users, and then the server is gone
    fake.faults = ["", "", "", *["400"] * 20]
    with pytest.raises(ModelError):
        tune(fake, served_config(), inputs, tmp_path)
    fake.faults = []
    asked = len(texts_seen(fake))
    tune(fake, served_config(), inputs, tmp_path)
    wanted = len(inputs.item_texts) + len(inputs.user_texts)
    # once more: the width, of what was not begun, and the chunk that was refused
    assert len(texts_seen(fake)) == asked + 1 + wanted - 16


def test_a_head_of_another_run_is_used_as_it_is(
    fake: FakeServer, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    there = tmp_path / "there" / "finetune"
    tune(fake, served_config(), inputs, there)
    here, other = tmp_path / "here", tmp_path / "other"
    report = tune(fake, served_config(transfer_from=there.parent), inputs, here)
    assert list(report.phases) == ["transferred head"]
    answers = [
        LiveNegatives.open(folder, inputs.view, inputs.interactions).vectors(torch.arange(9))[0]
        for folder in (there, here)
    ]
    torch.testing.assert_close(*answers)
    no_embeddings = {"finetune": {"collaborative": "none"}, "transfer_from": there.parent}
    with pytest.raises(ArtifactError, match="'collaborative': 'soft_tokens'"):
        tune(fake, served_config(**no_embeddings), inputs, other)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"finetune": {"steps": 3}}, "steps"),
        ({"mode": "pairwise"}, "mode"),
        ({"finetune": {"collaborative": "text"}}, "collaborative"),
        ({"distill": {"teacher": "there"}}, "teacher"),
    ],
)
def test_what_a_server_cannot_do_is_refused_before_anything_is_written(
    changes: dict[str, Any], key: str, inputs: SynthesisInputs, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"{key}.*language\.model"):
        finetune_served(served_config(**changes), inputs, "some/model", tmp_path, 0)
    assert not list(tmp_path.iterdir())


def test_a_run_from_the_command_line(fake: FakeServer, tmp_path: Path) -> None:
    tree = small_tree(write_files(tmp_path / "data"), Path("x"), tmp_path / "run")
    tree["language"] |= {"model": "openai:some/model", "server": {"base_url": fake.url}}
    tree["synthesis"]["user_states"] = "history"
    tree["synthesis"]["finetune"]["steps"] = 0
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(tree))
    result = CliRunner().invoke(app, ["run", str(config)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "hnlmrec" in result.output
    assert {body["model"] for body in fake.requests} == {"some/model"}
    # the width is asked for, and each item once
    assert len(texts_seen(fake)) == 1 + len(np.unique(texts_seen(fake)[1:]))
