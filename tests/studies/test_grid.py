"""From a study to the runs and cells that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hnlmrec.config import RunConfig
from hnlmrec.config.presets import preset
from hnlmrec.errors import ConfigError
from hnlmrec.studies.definition import Study, study_names
from hnlmrec.studies.grid import Grid, build_grid
from synthetic import small_tree

ROOT = Path("studies/runs")


def config(**changes: Any) -> RunConfig:
    tree = small_tree(Path("data"), Path("model"), Path("run"))
    return RunConfig.from_dict(tree | changes)


def study(**parts: Any) -> Study:
    base = {"title": "t", "claim": "c", "reference": "dns", "models": {"dns": {}, "hnlmrec": {}}}
    return Study.model_validate(base | parts)


def grid(parts: dict[str, Any], **options: Any) -> Grid:
    return build_grid(study(**parts), config(), ROOT, **options)


def model_of(found: Grid, name: str, point: str = "") -> Any:
    cell = next(cell for cell in found.cells if (cell.model, cell.point) == (name, point))
    return found.runs[cell.run].models[cell.stage_model]


def test_points_that_change_models_alone_share_a_run() -> None:
    points = {str(n): {"model": {"training.negatives": n}} for n in (1, 4)}
    found = grid({"points": points})
    assert [(cell.point, cell.model) for cell in found.cells] == [
        ("1", "dns"), ("1", "hnlmrec"), ("4", "dns"), ("4", "hnlmrec"),
    ]  # fmt: skip
    (run,) = found.runs.values()
    assert len(run.models) == 4
    assert run.seeds == (0, 1, 2)
    assert run.run.parent == ROOT
    assert model_of(found, "dns", "4").training.negatives == 4
    assert model_of(found, "dns", "1") == config().models["dns"]


def test_points_that_change_the_run_have_each_their_own() -> None:
    points = {
        "half": {"run": {"data.split.train_share": 0.5}},
        "all": {},
    }
    found = grid({"points": points})
    half, whole = (found.runs[found.cells[n].run] for n in (0, 2))
    assert half.data.split.train_share == 0.5
    assert whole.data.split.train_share == 1
    assert half.run.name.startswith("train_share-0.5-")
    assert whole.run.name.startswith("base-")
    # of what is not changed, the settings are those of the configuration
    assert half.synthesis == whole.synthesis == config().synthesis


def test_what_changes_nothing_goes_by_one_name_in_all_studies() -> None:
    plain, varied = grid({}), grid({"models": {"dns": {}, "other": {"of": "hnlmrec"}}})
    assert set(plain.runs) == set(varied.runs)
    assert plain.cells[0].stage_model == varied.cells[0].stage_model
    assert varied.cells[1].stage_model.startswith("other-")
    moved = build_grid(study(), config(threads=1), ROOT)
    assert set(moved.runs) == set(plain.runs)


def test_other_language_stages_go_into_another_folder() -> None:
    other = config(language={"model": "model", "max_tokens": 16})
    assert set(build_grid(study(), other, ROOT).runs).isdisjoint(grid({}).runs)


def test_a_variant_may_be_of_any_model_and_change_the_run() -> None:
    models = {
        "dns": {},
        "noise": {"of": "hnlmrec", "model": {"sampler.source": "noise"}},
        "untuned": {"of": "hnlmrec", "run": {"synthesis.finetune.steps": 0}},
    }
    found = grid({"models": models})
    assert model_of(found, "noise").sampler.source == "noise"
    assert len(found.runs) == 2
    untuned = found.runs[found.cells[2].run]
    assert untuned.synthesis.finetune.steps == 0
    assert list(untuned.models) == [found.cells[2].stage_model]


def test_optional_models_are_left_out_and_others_are_asked_for() -> None:
    models = {"dns": {}, "sl": {}}
    assert grid({"models": models, "optional": ["sl"]}).models == ["dns"]
    with pytest.raises(ConfigError, match="needs the model sl"):
        grid({"models": models})


def test_all_models_of_the_configuration() -> None:
    assert grid({"models": None}).models == ["uniform", "dns", "hnlmrec"]
    with pytest.raises(ConfigError, match="needs the model sl"):
        grid({"models": None, "reference": "sl"})


def test_an_invalid_change_is_named() -> None:
    models = {"dns": {"model": {"training.lr": -1}}}
    with pytest.raises(ConfigError, match=r"training\.lr"):
        grid({"models": models})
    with pytest.raises(ConfigError, match="train_share"):
        grid({"run": {"data.split.train_share": 2}})


def test_the_short_form_has_few_points_one_seed_and_few_epochs() -> None:
    points = {str(n): {"model": {"training.epochs": n}} for n in (2, 3, 90)}
    short = {"points": ["2", "3"], "model": {"training.lr": 0.5}}
    found = grid({"points": points, "quick": short}, quick=True)
    assert found.points == ["2", "3"]
    assert found.study.seeds == (0,)
    # what a point is there for is not shortened
    assert model_of(found, "dns", "3").training.epochs == 3
    assert model_of(found, "dns", "3").training.lr == 0.5
    (run,) = found.runs.values()
    assert run.synthesis.finetune.steps == 1
    # and of the whole form nothing is
    assert model_of(grid({"points": points, "quick": short}), "dns", "3").training.lr != 0.5


def test_seeds_in_the_place_of_the_studys() -> None:
    assert next(iter(grid({}, seeds=(0, 1)).runs.values())).seeds == (0, 1)


def test_a_transferred_model_is_fine_tuned_on_the_source() -> None:
    models = {"dns": {}, "moved": {"of": "hnlmrec", "run": {"synthesis.transfer_from": "$source"}}}
    with pytest.raises(ConfigError, match="--source"):
        grid({"models": models})
    source = config(data={"reader": "table", "path": "elsewhere", "core": 1})
    found = build_grid(study(models=models), config(), ROOT, source=source)
    assert found.source is not None
    assert found.runs[found.source].data.path == "elsewhere"
    moved = found.runs[found.cells[1].run]
    assert moved.synthesis.transfer_from == ROOT / found.source


@pytest.mark.parametrize("name", study_names())
@pytest.mark.parametrize("chosen", ["demo", "paper-toys"])
def test_every_study_goes_over_the_presets(name: str, chosen: str) -> None:
    given = RunConfig.from_dict(yaml.safe_load(preset(chosen)))
    for quick in (False, True):
        found = build_grid(Study.load(name), given, ROOT, quick=quick, source=given)
        assert found.study.reference in found.models
