from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hnlmrec.config import RunConfig, merge
from hnlmrec.config.presets import preset
from hnlmrec.config.template import template
from hnlmrec.errors import ConfigError


def test_yaml_round_trip_keeps_everything() -> None:
    config = RunConfig.from_dict({"seeds": [3, 4], "training": {"lr": 0.1}})
    assert RunConfig.from_dict(yaml.safe_load(config.to_yaml())) == config


def test_template_reads_back_to_the_defaults_and_explains_every_key() -> None:
    text = template()
    assert RunConfig.from_dict(yaml.safe_load(text)) == RunConfig()
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith("  ") and ":" in line and not line.strip().startswith(("#", "-")):
            if "models:" in lines[:number]:
                break
            assert lines[number - 1].strip().startswith("#"), line


def test_the_paper_s_preset_is_the_paper_s_recipe() -> None:
    config = RunConfig.from_dict(yaml.safe_load(preset("paper")))
    ours = config.models["hnlmrec"]
    assert (ours.sampler.alpha, ours.sampler.stop_gradient, ours.sampler.rescale) == (
        0.01,
        False,
        False,
    )
    assert (ours.loss.name, ours.loss.margin, ours.backbone.dim) == ("hinge", 0.3, 512)
    assert (config.synthesis.mode, config.synthesis.finetune.collaborative) == ("pairwise", "text")
    # what is compared differs by the negatives alone
    base = config.models["lightgcn"]
    assert (base.loss, base.backbone, base.training) == (ours.loss, ours.backbone, ours.training)
    with pytest.raises(ConfigError, match=r"no preset 'papers'.*demo, paper"):
        preset("papers")


def test_models_inherit_the_shared_sections_and_may_change_them() -> None:
    config = RunConfig.from_dict(
        {
            "backbone": {"dim": 16},
            "training": {"lr": 0.5, "epochs": 7},
            "models": {"a": {}, "b": {"training": {"lr": 0.25}}},
            "evaluation": {"reference": "a"},
        }
    )
    assert config.models["a"].training.lr == 0.5
    assert (config.models["b"].training.lr, config.models["b"].training.epochs) == (0.25, 7)
    assert config.models["b"].backbone.dim == 16


@pytest.mark.parametrize(
    ("tree", "parts"),
    [
        ({"trainning": {}}, ["trainning", "no such key"]),
        ({"data": {"split": {"valid": 0.6, "test": 0.5}}}, ["data.split", "1.1", "below 1"]),
        ({"data": {"reader": "excel"}}, ["data.reader", "'table'", "'amazon'", "excel"]),
        ({"training": {"lr": "fast"}}, ["training.lr", "number", "fast"]),
        ({"training": {"lr": -1}}, ["training.lr", "greater than 0"]),
        (
            {"models": {"dns": {"sampler": {"name": "dns", "top": 9}}}},
            ["models.dns.sampler", "top is 9", "candidates (8)"],
        ),
        (
            {"models": {"dns": {"sampler": {"name": "nearest"}}}},
            ["models.dns.sampler", "nearest", "there are uniform, ", "semantic"],
        ),
        ({"evaluation": {"reference": "best"}}, ["evaluation.reference", "best", "hnlmrec"]),
        ({"models": {"../x": {}}}, ["models", "../x", "letters"]),
        ({"models": {}}, ["models"]),
        (
            {
                "models": {
                    "dns": {"sampler": {"name": "semantic"}},
                }
            },
            ["models.dns", "nothing would train the adapter", "alignment.weight"],
        ),
    ],
)
def test_a_wrong_tree_names_the_key_and_what_is_allowed(
    tree: dict[str, Any], parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        RunConfig.from_dict(tree)
    for part in parts:
        assert part in str(error.value)


def test_all_wrong_keys_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"(?s)seed.*nonsense"):
        RunConfig.from_dict({"seed": "x", "nonsense": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1", "not YAML"), ("- 1\n", "found a list"), (None, "no such file")],
)
def test_a_file_that_is_no_config_is_named(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message) as error:
        RunConfig.from_yaml(path)
    assert str(path) in str(error.value)


def test_merge_leaves_both_trees_as_they_are() -> None:
    base, over = {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}
    assert merge(base, over) == {"a": {"b": 3, "c": 2}}
    assert base == {"a": {"b": 1, "c": 2}}
    assert over == {"a": {"b": 3}}


@pytest.mark.parametrize("name", ["one-node-8-gpus", "ray-cluster"])
def test_the_configurations_of_large_runs_load(name: str) -> None:
    config = RunConfig.from_yaml(Path(__file__).parents[1] / "configs/scale" / f"{name}.yaml")
    assert config.engine.name == ("ray" if name == "ray-cluster" else "local")
    # a store of all pairs would not fit
    assert {model.source for model in config.models.values()} == {None, "live"}
