"""Bytes that nobody would write: no traceback, no hang, whatever is read.

``HNLMREC_FUZZ=5000`` draws so many examples of each target, and others each time.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
from pathlib import Path

import polars as pl
import pytest
import torch
from fuzz_targets import TARGETS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from hnlmrec.config import DataConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.data.readers import READERS, parquet
from hnlmrec.errors import ArtifactError, DataError
from hnlmrec.language.cache import AnswerCache
from hnlmrec.language.protocol import Answer
from hnlmrec.training.checkpoint import read_checkpoint
from hnlmrec.training.model import FILE, TrainedModel

EXAMPLES = int(os.environ.get("HNLMREC_FUZZ", "0"))
PROFILE = settings(
    max_examples=EXAMPLES or 15,
    derandomize=not EXAMPLES,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@st.composite
def damaged(draw, right: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """Right bytes with some of them gone, doubled or replaced; or others altogether."""
    some = st.binary(max_size=8)
    piece = st.one_of(some, st.sampled_from(tokens)) if tokens else some
    if draw(st.integers(0, 9)) == 0:
        return b"".join(draw(st.lists(piece, max_size=60)))
    content = bytearray(right)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(content)))
        upto = draw(st.one_of(st.just(at), st.integers(at, min(at + 30, len(content)))))
        content[at:upto] = draw(st.one_of(piece, st.just(bytes(content[at:upto] * 2))))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_are_explained(name: str) -> None:
    target = TARGETS[name]

    @PROFILE
    @example(target.right)
    @example(b"")
    @given(damaged(target.right, target.tokens))
    def read(content: bytes) -> None:
        with warnings.catch_warnings():
            # of literals in the files
            warnings.simplefilter("ignore")
            target(content)

    read()


# a row that begins like something compressed: polars would decompress it
STARTS = (b"\x1f\x8b", b"x\x01", b"x^", b"x\x9c", b"x\xda", b"\x28\xb5\x2f\xfd")


@pytest.mark.parametrize("start", STARTS)
def test_a_row_that_begins_like_a_compressed_file_is_a_row(tmp_path: Path, start: bytes) -> None:
    rows = b"user_id,item_id\n" + start + b"u,i1\n" + b"u1,i1\nu2,i2\n" * 10
    (tmp_path / "interactions.csv").write_bytes(rows)
    config = DataConfig(reader="table", path=str(tmp_path))
    raw = READERS["table"](config, tmp_path)
    is_text = b"\x8b" not in start and b"\xfd" not in start and max(start) < 128
    assert raw.interactions.height == 20 + is_text
    assert bool(raw.rejected.counts) != is_text


def test_answers_of_odd_values_are_asked_again_and_explained(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "answers.sqlite")
    cache.add("good", "model", Answer("text", 3, 4, True), 0.5)
    cache.add("odd", "model", Answer("text", 3, 4, True), 0.5)
    with sqlite3.connect(tmp_path / "answers.sqlite") as file:
        file.execute("UPDATE answers SET text = x'00ff', used = 'soon' WHERE key = 'odd'")
    assert cache.find(["good", "odd"]).keys() == {"good"}
    with pytest.raises(ArtifactError, match=r"answers\.sqlite"):
        cache.lines()
    cache.close()


@pytest.mark.parametrize("facts", ["{", "[1]", "5", None])
def test_a_checkpoint_of_odd_facts_is_none(tmp_path: Path, facts: str | None) -> None:
    model = torch.nn.Linear(3, 2)
    metadata = None if facts is None else {"facts": facts}
    tensors = {f"model.{name}": value + 1 for name, value in model.state_dict().items()}
    (tmp_path / "file").write_bytes(save(tensors, metadata=metadata))
    _is_left_alone(tmp_path / "file", model)


def test_a_checkpoint_of_another_model_is_none(tmp_path: Path) -> None:
    tensors = {f"model.{name}": value for name, value in torch.nn.Linear(3, 5).state_dict().items()}
    (tmp_path / "file").write_bytes(save(tensors, metadata={"facts": "{}"}))
    _is_left_alone(tmp_path / "file", torch.nn.Linear(3, 2))


def test_a_checkpoint_of_an_odd_optimiser_is_none(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 2)
    tensors = {f"model.{name}": value + 1 for name, value in model.state_dict().items()}
    tensors["optimizer.0.stop"] = torch.ones(1)
    (tmp_path / "file").write_bytes(save(tensors, metadata={"facts": "{}"}))
    _is_left_alone(tmp_path / "file", model)


def test_a_parquet_file_that_ends_the_process_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as polars does at a page that says it holds 2 EiB; which byte says so depends on its version
    monkeypatch.setattr(parquet, "_TRIAL", "import os; os.abort()")
    (tmp_path / "interactions.parquet").write_bytes(TARGETS["parquet"].right)
    with pytest.raises(DataError, match=r"interactions\.parquet: the file is damaged"):
        READERS["table"](DataConfig(reader="table", path=str(tmp_path)), tmp_path)


def _is_left_alone(path: Path, model: torch.nn.Module) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert read_checkpoint(path, model, torch.optim.Adam(model.parameters())) is None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_trained_model_without_items_is_explained(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(save({"users": torch.ones(2, 2)}))
    with pytest.raises(ArtifactError, match="hnlmrec train"):
        TrainedModel.load(tmp_path)


@pytest.mark.parametrize("users", [[0, -1], [0, 99], [0, None], ["a", "b"]])
def test_prepared_pairs_of_odd_numbers_are_explained(tmp_path: Path, users: list[object]) -> None:
    pl.DataFrame({"user_id": ["a", "b"]}).write_parquet(tmp_path / "users.parquet")
    pl.DataFrame({"item_id": ["c", "d"]}).write_parquet(tmp_path / "item_ids.parquet")
    frame = pl.DataFrame({"user": users, "item": [0, 1], "split": [0, 0]})
    frame.write_parquet(tmp_path / "interactions.parquet")
    with pytest.raises(ArtifactError, match="the prepared data cannot be read"):
        Interactions.load(tmp_path)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_right_is_read(name: str, tmp_path: Path) -> None:
    TARGETS[name].read(TARGETS[name].right, tmp_path)
