"""Every baseline with every backbone, sampler and loss: what trains, is saved, and is rebuilt."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest
import torch
from baseline_cases import SECTIONS, artefacts, seeded
from pydantic import ValidationError
from rich.console import Console

from hnlmrec.backbones import BACKBONES
from hnlmrec.baselines import BASELINES
from hnlmrec.baselines.picks import PICKS
from hnlmrec.config import EvaluationConfig, ModelConfig, RunConfig
from hnlmrec.config.baselines import BASELINE_NAMES, ON_LAYER_0
from hnlmrec.context import Context
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ConfigError
from hnlmrec.losses import LOSSES
from hnlmrec.negatives import SAMPLERS
from hnlmrec.pipeline import Pipeline
from hnlmrec.plan import model_needs
from hnlmrec.reporting import Reporter
from hnlmrec.stages import pick_stage
from hnlmrec.studies.assess import assess
from hnlmrec.training import TrainedModel, build_learner, train
from hnlmrec.training.learner import epoch_batches
from hnlmrec.training.optimizer import build_optimizer
from synthetic import interactions, small_tree

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")

CPU = torch.device("cpu")
SIZES = {"backbone": {"dim": 8, "hidden": 7}, "training": {"batch_size": 64, "lr": 0.02}}


def model(baseline: str | None, **changes: object) -> ModelConfig:
    tree = {**SIZES, **({"baseline": SECTIONS[baseline]} if baseline else {})}
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value}
    return ModelConfig.model_validate(tree)


def some_steps(config: ModelConfig, n: int = 3):
    learner = build_learner(config, interactions(), 0, artefacts(), CPU)
    before = {name: value.detach().clone() for name, value in learner.named_parameters()}
    optimizer, generator = build_optimizer(learner), seeded(5)
    parts = {}
    for _, batch in zip(range(n), epoch_batches(interactions(), 64, seeded(1), CPU), strict=False):
        parts = learner.step(batch, generator)
        assert all(value.isfinite().all() for value in parts.values())
        optimizer.step()
    return learner, before, parts


def test_every_section_builds_a_baseline() -> None:
    assert tuple(BASELINES) == BASELINE_NAMES == tuple(SECTIONS)
    changing = [name for name, kind in BASELINES.items() if kind.changes_layer0]
    assert sorted(changing) == sorted(ON_LAYER_0)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("baseline", SECTIONS)
def test_each_trains_all_its_parameters_on_each_backbone(baseline: str, backbone: str) -> None:
    if backbone == "alpharec" and baseline in ON_LAYER_0:
        with pytest.raises(ValidationError, match="texts in its place"):
            model(baseline, backbone={"name": backbone})
        return
    learner, before, parts = some_steps(model(baseline, backbone={"name": backbone}))
    assert learner.direct is None
    assert ("baseline" in parts) == (baseline != "kar")
    for name, value in learner.named_parameters():
        assert not torch.equal(value, before[name]), name


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("baseline", SECTIONS)
def test_each_goes_with_each_loss(baseline: str, loss: str) -> None:
    some_steps(model(baseline, loss={"name": loss}), 1)


@pytest.mark.parametrize("sampler", [*SAMPLERS, "semantic"])
@pytest.mark.parametrize("baseline", SECTIONS)
def test_each_goes_with_each_sampler(baseline: str, sampler: str) -> None:
    changes: dict[str, object] = {"sampler": {"name": sampler}}
    if sampler == "semantic":
        changes = {"sampler": {"name": sampler, "source": "noise"}, "alignment": {"weight": 0.1}}
    some_steps(model(baseline, **changes), 1)


@pytest.mark.parametrize("baseline", [*SECTIONS, None])
def test_a_trained_model_is_evaluated_as_it_was_saved(baseline: str | None, tmp_path: Path) -> None:
    changes = {} if baseline else {"backbone": {"name": "alpharec"}}
    config = model(baseline, training={"epochs": 2, "evaluate_every": 1}, **changes)
    train(config, interactions(), 0, artefacts(), tmp_path)
    trained = TrainedModel.load(tmp_path)
    assess(trained, config, interactions(), artefacts(), 0, EvaluationConfig(), tmp_path)
    learner = build_learner(config, interactions(), 0, artefacts(), CPU)
    learner.load_state_dict(trained.state)
    with torch.no_grad():
        torch.testing.assert_close(learner.view().items, trained.view.items)
        torch.testing.assert_close(learner.view().users, trained.view.users)


@pytest.mark.parametrize("baseline", SECTIONS)
def test_a_seed_determines_the_run(baseline: str) -> None:
    rng = torch.get_rng_state()
    one, other = (some_steps(model(baseline))[0].state_dict() for _ in range(2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert torch.equal(torch.get_rng_state(), rng)


def test_the_graph_of_a_contrastive_backbone_sees_the_changed_layer_0() -> None:
    config = model("kar", backbone={"name": "sgl"})
    learner = build_learner(config, interactions(), 0, artefacts(), CPU)
    batch = next(epoch_batches(interactions(), 64, seeded(1), CPU))
    _, parts = learner.loss(batch, seeded(2))
    with torch.no_grad():
        learner.backbone.table += learner.baseline.layer0(torch.zeros(70, 8), None)
    learner.baseline.changes_layer0 = False
    _, plain = learner.loss(batch, seeded(2))
    torch.testing.assert_close(parts["auxiliary"], plain["auxiliary"])
    torch.testing.assert_close(parts["ranking"], plain["ranking"])
    # L2 is that of the table itself
    assert parts["l2"] != plain["l2"]


def test_texts_that_are_not_there_are_missed() -> None:
    with pytest.raises(ConfigError, match="none are given"):
        build_learner(model("kar"), interactions(), 0, None, CPU)


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        ({"baseline": {"name": "rlmrec_con"}}, {"encode/items", "encode/users"}),
        ({"baseline": {"name": "rlmrec_gen"}}, {"encode/items", "encode/users"}),
        ({"baseline": {"name": "kar"}}, {"encode/items", "encode/users"}),
        ({"baseline": {"name": "llmrec"}}, {"pick"}),
        ({"backbone": {"name": "alpharec"}}, {"encode/items"}),
    ],
)
def test_each_needs_what_it_reads(changes: dict[str, object], needs: set[str]) -> None:
    config = ModelConfig.model_validate(changes)
    assert set(model_needs(config)) == {"prepare", *needs}
    assert config.needs_language
    assert config.source is None


@pytest.mark.parametrize("picker", ["encoder", "llm"])
def test_a_run_with_all_of_them_never_tunes_the_language_model(
    picker: str, small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    models: dict[str, object] = {
        name.replace("_", "-"): {"baseline": section} for name, section in SECTIONS.items()
    }
    if picker == "llm":
        models = {"llmrec": models["llmrec"]}
    else:
        models["alpharec"] = {"backbone": {"name": "alpharec"}}
        models["meaning"] = {"sampler": {"name": "dns", "meaning": {"user": "profile"}}}
    tree = small_tree(small_data, tiny_model, tmp_path / "run")
    tree["models"] = {"dns": {"sampler": {"name": "dns"}}, **models}
    tree["pick"] = {"picker": picker, "max_users": 6, "candidates": 4, "max_new_tokens": 24}
    tree["profile"] |= {"max_fallback_share": 1}  # a model of random weights picks nothing
    out = io.StringIO()
    pipeline = Pipeline(RunConfig.from_dict(tree), Reporter(Console(file=out, width=200)))
    pipeline.run(["compare"])
    printed = out.getvalue()
    assert "of 6 users asked about have picks" in printed
    assert "finetune" not in printed
    table = pl.read_csv(tmp_path / "run" / "compare" / "table.csv")
    assert table["model"].to_list() == ["dns", *models]
    report = json.loads((tmp_path / "run" / "pick" / "report.json").read_text())
    assert report["picked"] + sum(report["fallbacks"].values()) == 6
    train_part = pipeline.context.interactions.train
    for user, favourite, least in pl.read_parquet(tmp_path / "run" / "pick" / PICKS).rows():
        assert not train_part[[user]].toarray()[0, [favourite, least]].any()


def test_picks_do_not_depend_on_held_out_interactions(
    small_data: Path, tiny_model: Path, tmp_path: Path
) -> None:
    tree = small_tree(small_data, tiny_model, tmp_path / "run")
    tree["pick"] = {"picker": "encoder", "max_users": 0, "candidates": 4}
    pipeline = Pipeline(RunConfig.from_dict(tree), Reporter(Console(file=io.StringIO())))
    pipeline.run(["pick"])
    before = (tmp_path / "run" / "pick" / PICKS).read_bytes()
    real = pipeline.context.interactions
    other = Interactions(real.user_ids, real.item_ids, real.train, real.test[::-1], real.valid * 0)
    context = Context(pipeline.config, pipeline.folder, pipeline.reporter)
    context.__dict__["interactions"] = other
    pick_stage(context, tmp_path)
    assert (tmp_path / PICKS).read_bytes() == before
