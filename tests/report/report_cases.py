"""Folders of studies and runs for tests of reports: written in a moment, nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from hnlmrec.artifacts import RunFolder
from hnlmrec.config import RunConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.evaluation.evaluate import evaluate
from hnlmrec.profiles.store import COLUMNS
from hnlmrec.studies.assess import HITS, PER_USER, Assessment
from hnlmrec.synthesis.states import UNTUNED
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.synthesis.vectors import Shape, VectorTable
from hnlmrec.training import LanguageArtefacts, TrainedModel, TrainReport, build_learner

MODELS = ("dns", "hnlmrec", "noise")
HOSTILE = (
    "<script>window.attacked = true</script>",
    "</script><script>window.attacked = true</script>",
    '" onerror="window.attacked = true',
    "<img src=x onerror='window.attacked = true'>",
    r"100% of $x_1^2$ & \alpha {#~}",
)
WIDTH = 16


def study_facts(**changes: Any) -> dict[str, Any]:
    """What ``study.json`` says of a study of one point."""
    return {
        "name": "toy",
        "title": "A toy study",
        "claim": "Synthesised negatives are better.",
        "dataset": "toys",
        "axis": {"label": "alpha", "numeric": True, "log": False},
        "points": ["0.1"],
        "models": list(MODELS),
        "reference": "dns",
        "seeds": [0, 1],
        "metrics": ["recall@20", "ndcg@20"],
        "quick": False,
        "command": "hnlmrec study toy",
        "versions": {"hnlmrec": "0.1.0"},
        "runs": {},
        "config": {"seed": 0},
        **changes,
    }


def summary_frame(facts: dict[str, Any]) -> pl.DataFrame:
    """Means that grow with model, point and metric; the second model's are significant."""
    rows = []
    for place, point in enumerate(facts["points"]):
        for number, model in enumerate(facts["models"]):
            for extra, metric in enumerate(facts["metrics"]):
                mean = 0.1 + 0.01 * number + 0.02 * place + 0.001 * extra
                is_reference = model == facts["reference"]
                rows.append(
                    {
                        "point": point,
                        "model": model,
                        "metric": metric,
                        "seeds": len(facts["seeds"]),
                        "mean": mean,
                        "sd": 0.002 if len(facts["seeds"]) > 1 else None,
                        "low": mean - 0.005,
                        "high": mean + 0.005,
                        "difference": None if is_reference else 0.01 * number,
                        "p_t_holm": None if is_reference else 0.2 if number > 1 else 0.004,
                        "p_wilcoxon_holm": None if is_reference else 0.3,
                        "d": None if is_reference else 0.1,
                    }
                )
    return pl.DataFrame(rows, infer_schema_length=None)


def write_study(folder: Path, *, only_summary: bool = False, **changes: Any) -> Path:
    """A study folder as the contract has it."""
    facts = study_facts(**changes)
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps(facts))
    summary_frame(facts).write_parquet(folder / "summary.parquet")
    if only_summary:
        return folder
    rng = np.random.default_rng(0)
    measures, curves, groups, shift = [], [], [], []
    for point in facts["points"]:
        for number, model in enumerate(facts["models"]):
            for seed in facts["seeds"]:
                key = {"point": point, "model": model, "seed": seed}
                values = {"fhns_used": 4.0 - number, "seconds": 20.0, "best_epoch": 8.0}
                if number:
                    values |= {"fhns_synthesised": 1.2, "language_seconds": 90.0}
                    values |= {"language_tokens": 3e5, "mi_bound_after": 2.0 + rng.random()}
                measures += [{**key, "measure": m, "value": v} for m, v in values.items()]
                for epoch in range(4, 20 + 4 * seed, 4):
                    recall = 0.1 * (1 - np.exp(-epoch / 8)) + 0.01 * number + 0.002 * rng.random()
                    parts = {"valid_recall": recall, "ranking": 0.7 - recall}
                    if number:
                        parts["hard_cosine"] = -0.1 * recall
                    curves += [
                        {**key, "epoch": epoch, "seconds": 0.5 * epoch, "measure": m, "value": v}
                        for m, v in parts.items()
                    ]
                groups += [
                    {**key, "side": side, "group": group, "label": f"{group}-{group + 1}",
                     "metric": "recall@20", "value": 0.02 * group + 0.01 * number, "users": 10}
                    for side in ("items", "users") for group in (1, 2, 3)
                ]  # fmt: skip
                shift += [
                    {**key, "bin": b, "low": b / 5, "high": (b + 1) / 5, "share": 0.2,
                     "false": 0.01 * b * (number + 1)}
                    for b in range(5)
                ]  # fmt: skip
    for name, rows in (
        ("measures", measures), ("curves", curves), ("groups", groups), ("shift", shift)
    ):  # fmt: skip
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / f"{name}.parquet")
    return folder


def run_config(folder: Path) -> RunConfig:
    """Three models: a sampler of items, synthesised negatives, and noise in their place."""
    semantic = {"name": "semantic", "base": {"name": "dns", "candidates": 4}}
    texts = {"weight": 0.1, "hidden": 8}
    return RunConfig.from_dict(
        {
            "run": str(folder),
            "data": {"reader": "table", "path": "toys"},
            "backbone": {"dim": WIDTH},
            "training": {"epochs": 3},
            "models": {
                "dns": {"sampler": {"name": "dns"}},
                "hnlmrec": {"sampler": semantic, "alignment": texts},
                "noise": {"sampler": {**semantic, "source": "noise"}, "alignment": texts},
            },
        }
    )


def write_run(
    folder: Path,
    data: Interactions,
    *,
    titles: list[str] | None = None,
    lines: list[str] | None = None,
    fallbacks: int = 0,
) -> Path:
    """A run folder with all artefacts, of models with their initial parameters.

    Parameters
    ----------
    folder
        Of the run.
    data
        Its interactions.
    titles
        Of the items.
    lines
        What the training of each model is said to have printed.
    fallbacks
        Users whose profile is a fallback.
    """
    config, run = run_config(folder), RunFolder(folder)
    run.claim(config, update=False)
    generator = torch.Generator().manual_seed(0)
    titles = titles or [f"Toy {n}" for n in range(data.n_items)]
    texts = {"title": titles, "brand": "", "categories": "Toys", "description": titles}
    with run.write("prepare", "", {}, {}, []) as work:
        data.save(work)
        ItemTexts(pl.DataFrame(texts)).save(work)
    with run.write("profile", "", {}, {"prepare": ""}, []) as work:
        _write_profiles(work, data, titles, fallbacks)
    item_vectors = torch.randn(data.n_items, WIDTH, generator=generator)
    with run.write("encode/items", "", {}, {"prepare": "", "profile": ""}, []) as work:
        table = VectorTable.create(work / UNTUNED, Shape(data.n_items, WIDTH))
        table.write(np.arange(data.n_items), item_vectors)
        (work / "report.json").write_text(json.dumps({"tokens": 50}))
    with run.write("finetune", "", {}, {"prepare": "", "encode/items": ""}, []) as work:
        bounds = {"before": {"mi_bound": 0.5}, "after": {"mi_bound": 2.5}}
        report = {"phases": {"head": bounds}, "tokens": {"lora": 700, "states": 300}}
        (work / "report.json").write_text(json.dumps(report))
    with run.write("synthesize", "", {}, {"prepare": "", "finetune": ""}, []) as work:
        store = NegativeStore.create(work, data, WIDTH)
        n_pairs = data.train.nnz
        store.write(np.arange(n_pairs), torch.randn(n_pairs, WIDTH, generator=generator))
    source = NegativeStore.open(run.stage("synthesize"), data)
    language = LanguageArtefacts(source, item_vectors)
    for model in config.models:
        _write_model(run, config, data, language, model, lines or [])
    return folder


def _write_profiles(work: Path, data: Interactions, titles: list[str], fallbacks: int) -> None:
    for kind, n in (("users", data.n_users), ("items", data.n_items)):
        sources = ["fallback" if row < fallbacks else "template" for row in range(n)]
        pl.DataFrame(
            {
                "index": np.arange(n),
                "summarization": [f"Likes {titles[row % len(titles)]}" for row in range(n)],
                "reasoning": "",
                "source": sources,
                "reason": None,
            },
            schema_overrides=COLUMNS,
        ).write_parquet(work / f"{kind}.parquet")
    report = {
        "users": {"fallback": fallbacks, "template": data.n_users - fallbacks},
        "items": {},
        "fallbacks": {"repeats itself": fallbacks} if fallbacks else {},
    }
    (work / "report.json").write_text(json.dumps(report))


def _write_model(
    run: RunFolder,
    config: RunConfig,
    data: Interactions,
    language: LanguageArtefacts,
    model: str,
    lines: list[str],
) -> None:
    of_model = config.models[model]
    artefacts = language if of_model.needs_language else None
    learner = build_learner(of_model, data, 0, artefacts, torch.device("cpu"))
    with torch.no_grad():
        view = learner.view()
    needs = {"prepare": ""}
    if artefacts:
        needs |= {"finetune": "", "synthesize": ""}
    history = [
        {"epoch": float(e), "ranking": 0.7 - 0.1 * e, "valid_recall": 0.1 * e} for e in (1, 2, 3)
    ]
    report = TrainReport(
        best_epoch=3, epochs=3, valid_recall=0.3, missing_negatives=0, pairs_trained=100,
        seconds_per_epoch=2.0, history=history, geometry={"hard_rank": 9.0} if artefacts else {},
    )  # fmt: skip
    with run.write(f"train/{model}-seed0", "", {}, needs, lines) as work:
        TrainedModel(view, learner.state_dict()).save(work)
        (work / "report.json").write_text(report.model_dump_json())
    rows = evaluate(view, data, "test", config.evaluation.cutoffs)
    fhns = {"used": 2.0} | ({"synthesised": 1.0} if artefacts else {})
    with run.write(f"evaluate/{model}-seed0", "", {}, {f"train/{model}-seed0": ""}, []) as work:
        rows.save(work / PER_USER)
        assert rows.hits is not None
        rows.hits.write_parquet(work / HITS)
        assessment = Assessment(metrics=rows.means(), fhns=fhns)
        (work / "assessment.json").write_text(assessment.model_dump_json())
