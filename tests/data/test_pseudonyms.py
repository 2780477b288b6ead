"""Users' ids hashed with a key: nothing else changes, and the ids are nowhere."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from hnlmrec.config import PrivacyConfig, RunConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.data.pseudonyms import fingerprint, hashed, user_secret
from hnlmrec.errors import ConfigError
from hnlmrec.pipeline import Pipeline
from hnlmrec.plan import plan
from hnlmrec.reporting import Reporter
from synthetic import pairs, small_config

SECRET = "correct horse battery staple"
VARIABLE = "HNLMREC_USER_SECRET"
ON = {"privacy": {"hash_users": True}}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, SECRET)


@pytest.fixture
def named_data(small_data: Path, tmp_path: Path) -> Path:
    """The small data with ids that are found wherever they are written."""
    folder = tmp_path / "data"
    folder.mkdir()
    users, items = pairs()
    rows = [f"person{u}@example.org,i{i}" for u, i in zip(users, items, strict=True)]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id", *rows]) + "\n")
    shutil.copy(small_data / "items.jsonl", folder)
    return folder


def _prepare(config: RunConfig) -> str:
    out = io.StringIO()
    Pipeline(config, Reporter(Console(file=out, width=200))).run(["prepare"])
    return out.getvalue()


def test_the_hash_is_hmac_sha256() -> None:
    ids = pl.Series("user_id", ["u1", "ü\n2"])
    expected = [
        hmac.new(SECRET.encode(), one.encode(), hashlib.sha256).hexdigest()[:32] for one in ids
    ]
    assert hashed(ids, SECRET.encode()).to_list() == expected
    assert hashed(ids, b"another secret, of 30 letters!").to_list() != expected


@pytest.mark.parametrize("hide", [True, False])
def test_rows_that_were_left_out_are_quoted_only_where_ids_may_be_seen(
    hide: bool, named_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    with (named_data / "interactions.csv").open("a") as file:
        file.write("person7@example.org,\n")
    config = small_config(named_data, tiny_model, tmp_path / "run", **(ON if hide else {}))
    out = _prepare(config)
    assert "item_id is empty: 1" in out
    (row,) = map(json.loads, (config.run / "prepare/rejected.jsonl").read_text().splitlines())
    assert row["reason"] == "item_id is empty"
    assert row["line"] > 1
    assert ("raw" in row) == (not hide)
    files = [path.read_bytes() for path in config.run.rglob("*") if path.is_file()]
    assert any(b"person7@" in content for content in files) == (not hide)
    assert ("person7@" in out) is False


def test_no_id_is_written_or_said_and_all_else_is_the_same(
    named_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    plain = small_config(named_data, tiny_model, tmp_path / "plain")
    hidden = small_config(named_data, tiny_model, tmp_path / "hidden", **ON)
    assert "person" not in _prepare(hidden)
    _prepare(plain)
    with_ids, without = (Interactions.load(c.run / "prepare") for c in (plain, hidden))
    assert with_ids.user_ids[0].startswith("person")
    assert without.user_ids.str.contains(r"^[0-9a-f]{32}$").all()
    assert without.user_ids.n_unique() == with_ids.n_users
    assert without.item_ids.equals(with_ids.item_ids)
    for part in ("train", "valid", "test"):
        assert (without.part(part) != with_ids.part(part)).nnz == 0
    for file in hidden.run.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"@example" not in content, file
            assert SECRET.encode() not in content, file
    for path in hidden.run.rglob("*.parquet"):
        frame = pl.read_parquet(path)
        assert "example" not in str(frame.select(pl.col(pl.String).implode()).rows())


def test_the_same_secret_goes_on_and_another_begins_anew(
    named_data: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(named_data, tiny_model, tmp_path / "run", **ON)
    _prepare(config)
    first = Interactions.load(config.run / "prepare").user_ids
    assert "prepare: up to date" in _prepare(config)
    monkeypatch.setenv(VARIABLE, "another secret, of 30 letters!")
    assert "up to date" not in _prepare(config)
    assert not Interactions.load(config.run / "prepare").user_ids.equals(first)


@pytest.mark.parametrize(
    ("value", "said"), [(None, "is not set"), ("", "is not set"), ("short", "has fewer than 16")]
)
def test_a_secret_that_is_none_is_refused_with_advice(
    value: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=rf"HNLMREC_USER_SECRET {said}.*openssl rand"):
        user_secret(PrivacyConfig(hash_users=True))
    assert user_secret(PrivacyConfig()) is None


def test_the_fingerprint_tells_secrets_apart_alone() -> None:
    assert fingerprint(b"a" * 16) != fingerprint(b"b" * 16)
    assert SECRET not in fingerprint(SECRET.encode())


def test_runs_from_before_the_section_are_up_to_date(
    named_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """While it is off, neither keys of stages nor the folder know of the section."""
    config = small_config(named_data, tiny_model, tmp_path / "run")
    assert "privacy" not in json.dumps([stage.section for stage in plan(config).values()])
    _prepare(config)
    file = config.run / "config.yaml"
    text = file.read_text()
    start, end = text.index("privacy:"), text.index("data:")
    file.write_text(text[:start] + text[end:])
    assert "prepare: up to date" in _prepare(config)
    hidden = config.model_copy(update={"privacy": PrivacyConfig(hash_users=True)})
    with pytest.raises(ConfigError, match=r"differs in: privacy\.hash_users"):
        _prepare(hidden)
