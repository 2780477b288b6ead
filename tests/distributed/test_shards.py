"""Stages in shards: what they come to when they are merged, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hnlmrec.cli import app
from hnlmrec.distributed.merging import merge_shards
from hnlmrec.distributed.shard_run import run_shard
from hnlmrec.distributed.shards import Shard
from hnlmrec.errors import ArtifactError, ConfigError, ModelError
from hnlmrec.lock import FolderLock
from language_cases import (
    ASKING,
    ENCODING,
    PAIRWISE,
    artefacts,
    language_config,
    pipeline_of,
)
from openai_server import FakeServer

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")
THREE = [Shard(number, 3) for number in (3, 1, 2)]


def share_out(config, stage: str, shards=THREE) -> str:
    pipeline, out = pipeline_of(config, claim=False)
    for shard in shards:
        run_shard(pipeline, stage, shard)
    return out.getvalue()


@pytest.mark.parametrize("stage", ASKING)
def test_three_shards_of_questions_are_the_stage(
    stage: str, alone: Path, run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url)
    shutil.rmtree(run / stage)
    before = len(server.requests)
    share_out(config, stage)
    asked = len(server.requests) - before
    pipeline, out = pipeline_of(config)
    merge_shards(pipeline)
    pipeline.run([stage])
    assert len(server.requests) == before + asked  # nothing was left
    usage = json.loads((alone / stage / "report.json").read_text())["usage"]
    assert asked == usage["asked"] > len(artefacts(alone, stage))
    assert artefacts(run, stage) == artefacts(alone, stage)
    assert f"{stage}: 3 shards merged, {asked:,} new answers" in out.getvalue()


@pytest.mark.parametrize("stage", ENCODING)
def test_three_shards_of_vectors_are_the_stage(
    stage: str, alone: Path, run: Path, small_data: Path, tiny_model: Path, server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # of so few rows there are several chunks
    monkeypatch.setattr("hnlmrec.synthesis.encode.STATES_CHUNK", 4)
    config = language_config(small_data, tiny_model, run, server.url)
    for copy in (run, run.with_name("alone")):
        shutil.copytree(alone, copy, dirs_exist_ok=True)
        shutil.rmtree(copy / stage)
    alone = language_config(small_data, tiny_model, run.with_name("alone"), server.url)
    pipeline_of(alone)[0].run([stage])
    share_out(config, stage)
    pipeline, _ = pipeline_of(config)
    merge_shards(pipeline, stage)
    # no weights are read any more
    monkeypatch.delattr("hnlmrec.language.local.LocalLanguageModel.load")
    pipeline.run([stage])
    assert artefacts(run, stage) == artefacts(alone.run, stage)


def test_three_shards_of_tuned_states_are_the_stage(
    alone: Path, run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url)
    shutil.rmtree(run / "finetune")
    with pytest.raises(ArtifactError, match=r"not tuned yet: step 0 of 3.*--tune-only"):
        share_out(config, "finetune")
    pipeline, _ = pipeline_of(config)
    pipeline.tune_only()
    assert not (run / "finetune.partial" / "item_states.json").exists()
    share_out(config, "finetune")
    merge_shards(pipeline)
    assert (run / "finetune.partial" / "item_states.json").exists()
    pipeline.run(["finetune"])
    assert artefacts(run, "finetune") == artefacts(alone, "finetune")


def test_three_shards_of_pairs_are_the_stage(
    alone: Path, tmp_path: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    pairwise = alone.with_name("pairwise")
    shutil.copytree(pairwise, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "synthesize")
    config = language_config(small_data, tiny_model, tmp_path / "run", server.url, **PAIRWISE)
    share_out(config, "synthesize")
    pipeline, _ = pipeline_of(config)
    merge_shards(pipeline)
    pipeline.run(["synthesize"])
    assert artefacts(config.run, "synthesize") == artefacts(pairwise, "synthesize")


def test_a_shard_goes_on_where_it_was_and_is_done_once(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url)
    shutil.rmtree(run / "profile")
    before = len(server.requests)
    server.dies_after = before + 15
    with pytest.raises(ModelError):
        share_out(config, "profile", [Shard(1, 2)])
    server.dies_after = float("inf")
    kept = before + 15
    begun = len(server.requests)
    assert "answers written now" in share_out(config, "profile", [Shard(1, 2)])
    again = len(server.requests) - begun
    assert "up to date" in share_out(config, "profile", [Shard(1, 2)])
    fresh = language_config(small_data, tiny_model, run, server.url)
    shutil.rmtree(run / "shards")
    begun = len(server.requests)
    share_out(fresh, "profile", [Shard(1, 2)])
    assert again == len(server.requests) - begun - (kept - before)


def test_a_shard_is_done_by_one_process_while_others_do_theirs(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url)
    shutil.rmtree(run / "pick")
    # somebody trains a model in the run folder, and somebody has the first shard
    with FolderLock(run).held(), FolderLock(Shard(1, 2).folder(run, "pick")).held():
        share_out(config, "pick", [Shard(2, 2)])
        with pytest.raises(ArtifactError, match="is writing into this folder"):
            share_out(config, "pick", [Shard(1, 2)])


def test_merging_says_what_is_wrong_with_which_shard(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url)
    shutil.rmtree(run / "pick")
    pipeline, _ = pipeline_of(config)
    with pytest.raises(ConfigError, match="there are no shards here"):
        merge_shards(pipeline)
    share_out(config, "pick", [Shard(1, 4)])
    other = language_config(small_data, tiny_model, run, server.url, pick={"candidates": 5})
    shard = Shard(2, 4).folder(run, "pick")
    share_out(config, "pick", [Shard(2, 4), Shard(3, 4)])
    (Shard(4, 4).folder(run, "pick")).mkdir()
    text = (shard / "shard.json").read_text()
    key = pipeline.key("pick")
    assert pipeline_of(other, update=True)[0].key("pick") != key
    (shard / "shard.json").write_text(text.replace(key, "other"))
    file = Shard(3, 4).folder(run, "pick") / "part" / "answers.sqlite"
    file.write_bytes(file.read_bytes()[:-7] + b"damaged")
    pipeline, _ = pipeline_of(config, update=True)
    with pytest.raises(ArtifactError) as error:
        merge_shards(pipeline, "pick")
    assert "2/4 belongs to another configuration" in str(error.value)
    assert "3/4 is damaged: answers.sqlite" in str(error.value)
    assert "4/4 has not finished" in str(error.value)
    assert "1/4" not in str(error.value)
    (shard / "shard.json").write_text("{")
    with pytest.raises(ArtifactError, match="record of this shard is damaged"):
        merge_shards(pipeline, "pick")


def test_too_many_answers_of_no_use_stop_the_merged_stage_as_they_would_stop_the_stage(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    # two titles never have a profile: all shards together are above the limit, none is alone
    config = language_config(
        small_data, tiny_model, run, server.url, profile={"max_fallback_share": 0.02}
    )
    shutil.rmtree(run / "profile")
    shards = [Shard(number, 7) for number in range(1, 8)]
    share_out(config, "profile", shards)
    pipeline, _ = pipeline_of(config)
    merge_shards(pipeline)
    with pytest.raises(ModelError, match="2 of 70 profiles have no usable answer"):
        pipeline.run(["profile"])


def test_the_commands_do_a_shard_merge_and_finish(
    run: Path, alone: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    language_config(small_data, tiny_model, run, server.url)
    shutil.rmtree(run / "encode")

    def hnlmrec(*words: str) -> str:
        result = CliRunner().invoke(app, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    for part in ("1/2", "2/2"):
        assert f"encode/users, shard {part}" in hnlmrec("encode", str(run), "--shard", part)
    assert "encode/items: 2 shards merged, 30 rows" in hnlmrec("merge", str(run), "encode/items")
    assert "encode/items: up to date" not in hnlmrec("merge", str(run))
    assert "40 texts" in hnlmrec("encode", str(run))
    assert artefacts(run, "encode/users") == artefacts(alone, "encode/users")
    with pytest.raises(ConfigError, match="neither --update nor --engine"):
        hnlmrec("encode", str(run), "--shard", "1/2", "--engine", "ray")
    with pytest.raises(ConfigError, match=r"engine\.name"):
        hnlmrec("run", str(run), "--engine", "spark")
    with pytest.raises(ConfigError, match="'train' has no shards"):
        hnlmrec("merge", str(run), "train")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is no shard"):
        Shard.parse(text)


def test_a_stage_without_work_for_the_model_or_with_unfinished_needs_is_refused(
    run: Path, small_data: Path, tiny_model: Path, server: FakeServer
) -> None:
    config = language_config(small_data, tiny_model, run, server.url)
    with pytest.raises(ConfigError, match="amortized"):
        share_out(config, "synthesize")
    with pytest.raises(ConfigError, match="no part"):
        share_out(config, "prepare")
    shutil.rmtree(run / "profile")
    with pytest.raises(ArtifactError, match="`encode/items` needs profile, not finished"):
        share_out(config, "encode/items")


def test_shards_share_out_rows_and_ids_and_keep_to_their_own() -> None:
    for of in (1, 2, 5):
        shards = [Shard(number, of) for number in range(1, of + 1)]
        rows = np.concatenate([shard.rows(103, 10) for shard in shards])
        assert np.array_equal(np.sort(rows), np.arange(103))
        ids = [f"u{number}" for number in range(200)]
        owned = np.array([shard.owns(ids) for shard in shards])
        assert (owned.sum(axis=0) == 1).all()
        assert owned.any(axis=1).all()
        # others that come do not move them
        assert np.array_equal(owned[0], shards[0].owns(["new", *ids])[1:])
    # the same on every machine and in every version
    assert Shard(1, 2).owns(list("efgh")).tolist() == [False, False, True, True]
