from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError

import plugin_cases
from hnlmrec import plugins
from hnlmrec.config import BackboneConfig, ModelConfig, RunConfig
from hnlmrec.errors import ConfigError
from hnlmrec.negatives import Guard, Uninteracted, Warmup
from hnlmrec.negatives.scoring import candidate_scores, score_batch
from hnlmrec.negatives.semantic import Semantic
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.training import LanguageArtefacts, TrainedModel, build_learner, train
from hnlmrec.training.learner import epoch_batches
from synthetic import interactions

DOCS = (plugin_cases.EXAMPLE.parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
PLUGINS = {
    "sampler": {"name": "hardest_popular", "options": {"candidates": 4}},
    "loss": {"name": "squared_hinge", "options": {"margin": 0.5}},
    "backbone": {"name": "last_layer", "dim": 8, "options": {"keep": 0.25}},
    "training": {"epochs": 4, "batch_size": 64, "evaluate_every": 2, "lr": 0.01, "negatives": 2},
}
CPU = torch.device("cpu")


def _by_entry_points(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_cases.install(folder, monkeypatch, plugin_cases.entry_points())


def _by_register(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(plugin_cases.EXAMPLE))
    monkeypatch.setattr(plugins, "_REGISTERED", {})
    from hnlmrec_example.backbone import LastLayer
    from hnlmrec_example.loss import SquaredHinge
    from hnlmrec_example.sampler import HardestPopular

    plugins.register("hnlmrec.samplers", "hardest_popular", HardestPopular)
    plugins.register("hnlmrec.losses", "squared_hinge", SquaredHinge)
    plugins.register("hnlmrec.backbones", "last_layer", LastLayer)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _by_entry_points(tmp_path / "installed", monkeypatch)


def _model(**changes: Any) -> ModelConfig:
    return ModelConfig.model_validate({**PLUGINS, **changes})


@pytest.mark.parametrize("make_known", [_by_entry_points, _by_register])
def test_a_model_of_plug_ins_alone_trains_from_its_configuration(
    make_known: Callable[[Path, pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_known(tmp_path / "installed", monkeypatch)
    data, config = interactions(), _model()
    report = train(config, data, 0, None, tmp_path, None)
    losses = [row["ranking"] for row in report.history]
    assert losses[-1] < losses[0]
    learner = build_learner(config, data, 0, None, CPU)
    assert [type(one).__name__ for one in (learner.sampler, learner.ranking_loss)] == [
        "HardestPopular",
        "SquaredHinge",
    ]
    assert learner.ranking_loss.margin == 0.5
    assert learner.backbone.keep == 0.25
    trained = TrainedModel.load(tmp_path).view
    assert trained.users.shape == (data.n_users, 8)


def test_the_examples_sampler_takes_the_best_scored_of_its_draws(example: None) -> None:
    data = interactions()
    learner = build_learner(_model(), data, 0, None, CPU)
    batch = next(epoch_batches(data, 50, torch.Generator().manual_seed(1), CPU))
    with torch.no_grad():
        view = learner.view()
    drawn = learner.sampler.draws.sample(batch, view, torch.Generator().manual_seed(2)).items
    got = learner.sampler.sample(batch, view, torch.Generator().manual_seed(2)).items
    scores = candidate_scores(batch.users, drawn, view)
    expected = [
        [max(range(4 * n, 4 * n + 4), key=lambda place: float(row[place])) for n in range(2)]
        for row in scores
    ]
    assert torch.equal(got, drawn.gather(1, torch.tensor(expected)))


def test_the_examples_loss_and_backbone_are_what_they_say(example: None) -> None:
    learner = build_learner(_model(), interactions(), 0, None, CPU)
    loss = learner.ranking_loss(torch.tensor([1.0]), torch.tensor([[0.0, 0.75, 2.0]]), None)
    assert loss.item() == pytest.approx((0 + 0.25**2 + 1.5**2) / 3)
    first, *_, last = learner.backbone.propagated()
    torch.testing.assert_close(learner.view().table, 0.25 * first + 0.75 * last)


def test_guard_warmup_and_similarity_are_there_for_plug_ins(example: None) -> None:
    sampler = {**PLUGINS["sampler"], "guard": 0.1, "warmup": 2}
    config = _model(sampler=sampler, loss={"name": "squared_hinge", "similarity": "cosine"})
    learner = build_learner(config, interactions(), 0, None, CPU)
    warmup = learner.sampler
    assert isinstance(warmup, Warmup)
    assert isinstance(warmup.base, Guard)
    assert type(warmup.base.base).__name__ == "HardestPopular"
    assert learner.view().unit


def test_semantic_stands_on_a_plug_in(example: None, tmp_path: Path) -> None:
    data, width = interactions(), 6
    store = NegativeStore.create(tmp_path / "store", data, width)
    vectors = torch.randn(data.train.nnz, width, generator=torch.Generator().manual_seed(0))
    store.write(np.arange(data.train.nnz), vectors)
    unit = torch.nn.functional.normalize(vectors[: data.n_items], dim=1)
    config = _model(
        sampler={"name": "semantic", "base": PLUGINS["sampler"], "alpha": 0.5},
        alignment={"weight": 0.1, "hidden": 8},
    )
    learner = build_learner(config, data, 0, LanguageArtefacts(store, unit), CPU)
    assert isinstance(learner.sampler, Semantic)
    batch = next(epoch_batches(data, 50, torch.Generator().manual_seed(1), CPU))
    negatives = learner.sample(batch, learner.view(), torch.Generator().manual_seed(2))
    own = torch.from_numpy(data.train.toarray())[batch.users[:, None], negatives.items]
    assert negatives.items.shape == (50, 2)
    assert not own.any()
    assert negatives.present.all()
    plain = learner.sampler.base.sample(batch, learner.view(), torch.Generator().manual_seed(2))
    assert torch.equal(plain.items, negatives.items)
    mixed, base = (score_batch(batch, one, learner.view())[1] for one in (negatives, plain))
    assert not torch.allclose(mixed, base)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"sampler": {"name": "hardest"}}, "no 'hardest'; .*dns.*semantic.*hardest_popular"),
        ({"loss": {"name": "hinges"}}, "no 'hinges'; .*bpr.*squared_hinge"),
        ({"backbone": {"name": "gcn"}}, "no 'gcn'; .*lightgcn.*last_layer"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(
    example: None, tree: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict({"models": {"mine": tree}})


@pytest.mark.parametrize("section", ["sampler", "loss", "backbone"])
def test_options_that_a_factory_does_not_take_are_named(example: None, section: str) -> None:
    config = _model(**{section: {**PLUGINS[section], "options": {"colour": "red"}}})
    taken = {"sampler": "candidates, beta", "loss": "margin", "backbone": "keep"}[section]
    message = rf"^{section}\.options: .*'colour'.*it takes {taken}\.$"
    with pytest.raises(ConfigError, match=message):
        build_learner(config, interactions(), 0, None, CPU)


@pytest.mark.parametrize("option", ["group", "name", "given", "options", "factory", "setting"])
def test_no_name_of_an_option_gets_in_the_way(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_REGISTERED", {})
    plugins.register("hnlmrec.losses", "any", lambda **options: options)
    assert plugins.build_plugin("hnlmrec.losses", "any", (), {option: 1}) == {option: 1}


def test_an_option_may_not_replace_what_hnlmrec_gives(example: None) -> None:
    config = _model(sampler={"name": "hardest_popular", "options": {"setting": 1}})
    with pytest.raises(ConfigError, match=r"sampler\.options.*'setting'.*candidates, beta"):
        build_learner(config, interactions(), 0, None, CPU)


def test_an_option_without_a_default_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_REGISTERED", {})
    plugins.register("hnlmrec.losses", "steep", lambda slope: slope)
    with pytest.raises(ConfigError, match=r"loss\.options: .*missing.*'slope'.*takes slope"):
        plugins.build_plugin("hnlmrec.losses", "steep", (), {})


def test_an_error_inside_a_factory_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def factory() -> None:
        raise TypeError("of its own")

    monkeypatch.setattr(plugins, "_REGISTERED", {})
    plugins.register("hnlmrec.losses", "broken", factory)
    with pytest.raises(TypeError, match="of its own"):
        plugins.build_plugin("hnlmrec.losses", "broken", (), {})


def test_what_is_no_factory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_REGISTERED", {})
    plugins.register("hnlmrec.losses", "module", sys)
    with pytest.raises(ConfigError, match="is a module, not a class or function"):
        plugins.build_plugin("hnlmrec.losses", "module", (), {})


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("hnlmrec_nowhere:Thing", "ModuleNotFoundError: No module named 'hnlmrec_nowhere'"),
        ("hnlmrec_example.loss:Thing", "AttributeError: .*Thing"),
        ("hnlmrec_broken:Thing", "RuntimeError: on purpose"),
    ],
)
def test_an_entry_point_that_cannot_be_loaded_says_why_and_whose(
    target: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hnlmrec_broken.py").write_text("raise RuntimeError('on purpose')\n")
    points = {"hnlmrec.losses": {"lost": target}}
    plugin_cases.install(tmp_path, monkeypatch, points, package="their-losses")
    config = _model(loss={"name": "lost"}, sampler={"name": "dns"}, backbone={"dim": 4})
    where = f"entry point {target} of their-losses"
    with pytest.raises(ConfigError, match=f"{where}: the plug-in 'lost' .*: {reason}"):
        build_learner(config, interactions(), 0, None, CPU)


def test_a_plug_in_that_went_away_is_said_when_it_is_built(
    example: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BackboneConfig(name="last_layer")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "installed" not in p])
    with pytest.raises(ConfigError, match=r"no plug-in 'last_layer' in hnlmrec\.backbones"):
        plugins.find_plugin("hnlmrec.backbones", config.name)
    with pytest.raises(ValidationError, match="no 'last_layer'"):
        BackboneConfig(name="last_layer")


def test_a_group_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no group 'hnlmrec\.sampler'; .*hnlmrec\.samplers"):
        plugins.register("hnlmrec.sampler", "mine", Uninteracted)


@pytest.mark.parametrize("part", ["sampler", "loss", "backbone"])
def test_the_documentation_shows_the_examples_own_code(part: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS, flags=re.DOTALL)
    code = (plugin_cases.EXAMPLE / "hnlmrec_example" / f"{part}.py").read_text(encoding="utf-8")
    assert code in blocks


def test_the_documentations_configuration_and_entry_points_are_right(example: None) -> None:
    tree = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", DOCS, flags=re.DOTALL)[0])
    config = RunConfig.from_dict(tree)
    for name in tree["models"]:
        assert build_learner(_without_text(config, name), interactions(), 0, None, CPU)
    shown = re.findall(r"```toml\n(.*?)```", DOCS, flags=re.DOTALL)[0].strip()
    assert shown in (plugin_cases.EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")


def _without_text(config: RunConfig, name: str) -> ModelConfig:
    """The model on its base sampler: there is no language model here."""
    model = config.models[name]
    base = getattr(model.sampler, "base", model.sampler)
    plain = model.alignment.model_copy(update={"weight": 0.0})
    return model.model_copy(update={"sampler": base, "alignment": plain})
