"""The cost model against numbers computed by hand."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_are_found():
    sys.path.append(str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def model(_benchmarks_are_found):
    import cost_model

    return cost_model


@pytest.fixture
def work(model):
    return model.Work(
        users=10,
        items=4,
        pairs=100,
        user_tokens=7,
        item_tokens=3,
        parameters=1000,
        width=8,
        steps=5,
        batch_users=2,
        pairs_per_user=3,
        evaluate_every=2,
        dim=2,
    )


def test_tokens_and_flops_of_the_language_stages(model, work):
    # items alone, without a soft token
    assert model.encoding(work) == model.Cost(
        name="encode items", tokens=4 * 3, flops=2 * 1000 * 12, stored=4 * 8 * 2
    )
    # 5 steps and 4 evaluations (at 0, 2, 4 and 5) of 2 users (8 tokens) and 6 items (4 tokens)
    assert model.finetuning(work).tokens == 9 * (2 * 8 + 6 * 4)
    assert model.finetuning(work).flops == 1000 * 40 * (6 * 5 + 2 * 4)
    assert model.finetuning(replace(work, history=True)).tokens == 9 * 6 * 4
    assert model.finetuning(replace(work, mode="pairwise")).tokens == 9 * 6 * (8 + 4)
    assert model.states(work).tokens == 10 * 8 + 4 * 4
    assert model.states(work).stored == 14 * 8 * 2
    assert model.states(replace(work, history=True)).tokens == 16
    assert model.pairwise(work).tokens == 100 * 12
    assert model.pairwise(work).flops == 2 * 1000 * 1200
    assert model.pairwise(replace(work, shared=True)).tokens == 10 * 8 + 100 * 4
    assert model.profiling(work, 5, 2).tokens == 14 * 7


def test_the_store_is_a_row_a_pair(model, work):
    assert model.store_bytes(work) == 100 * (8 * 2 + 1)
    assert model.store_bytes(replace(work, storage="int8")) == 100 * (8 + 4 + 1)


def test_the_head_is_the_one_that_is_trained(model, work):
    from hnlmrec.synthesis.head import FusionHead

    weights = sum(p.numel() for p in FusionHead(8, 2).parameters() if p.dim() == 2)
    assert model.amortized(work).flops == 2 * weights * 100


def test_cf_training_and_evaluation(model, work):
    # two scores of 2 x 2 FLOPs and three gradients of 2 x 2
    assert model.mf_epoch(work).flops == 100 * (8 + 12)
    assert model.mf_epoch(work).moved == 100 * 3 * 2 * 4 * 6
    epoch = model.lightgcn_epoch(work, batch=30)
    assert epoch.name == "LightGCN, an epoch of 4 steps"
    # 4 steps, 2 layers there and back, 200 edges of 2 x 2 FLOPs
    assert epoch.flops == 2000 + 4 * 4 * 200 * 4
    assert epoch.moved == 14_400 + 16 * 200 * (2 * 4 + 8) + 4 * 14 * 2 * 4 * 7
    assert model.evaluation(work, block=4).flops == 40 * 4
    assert model.evaluation(work, block=4).moved == 3 * 4 * 2 * 4 + 2 * 40 * 4


def test_hours_are_those_of_what_takes_longer(model):
    cost = model.Cost(name="", flops=7200, moved=3600)
    assert model.hours(cost, peak=2, bandwidth=10) == 1
    assert model.hours(cost, peak=2, bandwidth=0.5) == 2


def test_a_run_is_compared_with_what_it_reports(model, tmp_path):
    import cost_check

    reports = {
        "prepare": {"users": 10, "items": 4, "interactions": {"train": 100}},
        "encode/items": {"texts": 4, "tokens": 12, "width": 8, "seconds": 0.5},
        "finetune": {
            "tokens": {"lora": 100, "tuned states": 96},
            "seconds": {"lora": 2.0, "tuned states": 4.0},
            "pairwise_tokens": 600,
        },
    }
    for stage, report in reports.items():
        (tmp_path / stage).mkdir(parents=True)
        (tmp_path / stage / "report.json").write_text(json.dumps(report))
    for name, letters in (("users", 28), ("items", 12)):
        (tmp_path / "profile").mkdir(exist_ok=True)
        frame = pl.DataFrame({"summarization": ["x" * letters] * 4})
        frame.write_parquet(tmp_path / "profile" / f"{name}.parquet")
    (tmp_path / "synthesize").mkdir()
    for name, size in (("-00000.float16", 1600), (".present", 100), (".json", 999)):
        (tmp_path / "synthesize" / f"negatives{name}").write_bytes(b"\0" * size)
    (tmp_path / "config.yaml").write_text(
        "language: {model: 'embedded:minilm', max_tokens: 64}\n"
        "synthesis:\n"
        "  mode: amortized\n"
        "  user_states: profile\n"
        "  storage: float16\n"
        "  finetune: {collaborative: soft_tokens, steps: 5, batch_users: 2, pairs_per_user: 3,\n"
        "    evaluate_every: 2}\n"
    )
    assert list(cost_check.predictions(tmp_path)) == [
        ("LoRA of full batches, tokens", 360, 100),
        ("tuned states, tokens", 96, 96),
        ("pairwise, tokens", 1200, 600),
        ("negatives, bytes", 1700, 1700),
    ]
    assert dict(cost_check.speeds(tmp_path)) == {
        "encode items": 2 * 10.6e6 * 12 / 0.5,
        "lora": 6 * 10.6e6 * 100 / 2,
        "tuned states": 2 * 10.6e6 * 96 / 4,
    }
