from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnlmrec.cli import app
from hnlmrec.cli.common import load_config
from hnlmrec.config import RunConfig
from hnlmrec.errors import ConfigError
from hnlmrec.language.cache import AnswerCache
from hnlmrec.language.protocol import Answer
from openai_server import serve
from synthetic import small_tree

WHOLE_RUNS = ("init", "run", "verify", "demo", "examples", "report", "study", "studies")
STAGES = (
    "prepare",
    "profile",
    "encode",
    "pick",
    "finetune",
    "synthesize",
    "train",
    "evaluate",
    "compare",
)
COMMANDS = (*WHOLE_RUNS, *STAGES, "recommend", "cache", "baselines")


@pytest.fixture
def config(small_data: Path, tmp_path: Path) -> Path:
    tree = small_tree(small_data, Path("none"), tmp_path / "run")
    tree["models"] = {"uniform": {}, "dns": {"sampler": {"name": "dns"}}}
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(tree))
    return path


def _call(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hnlmrec", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_names_every_command_without_loading_torch() -> None:
    code = (
        "import sys\nfrom hnlmrec.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'polars' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in COMMANDS:
        assert f" {command} " in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert command in result.output


def test_init_writes_a_config_and_never_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "c.yaml"
    assert CliRunner().invoke(app, ["init", str(path)]).exit_code == 0
    assert RunConfig.from_yaml(path) == RunConfig()
    result = CliRunner().invoke(app, ["init", str(path)])
    assert isinstance(result.exception, ConfigError)


def test_init_writes_the_data_of_the_paper_with_or_without_its_recipe(tmp_path: Path) -> None:
    configs = []
    for number, options in enumerate(([], ["--data-only"])):
        path = tmp_path / f"{number}.yaml"
        result = CliRunner().invoke(app, ["init", str(path), "--preset", "paper-cds", *options])
        assert result.exit_code == 0, result.output
        configs.append(RunConfig.from_yaml(path))
    assert configs[0].data == configs[1].data
    assert (configs[0].synthesis.mode, configs[1].models) == ("pairwise", RunConfig().models)


def test_set_changes_keys_and_run_names_the_folder(config: Path, tmp_path: Path) -> None:
    changes = ["training.lr=0.25", "seeds=[1, 2]", "models.dns.sampler.top=2"]
    loaded = load_config(config, tmp_path / "other", changes)
    assert loaded.training.lr == 0.25
    assert loaded.seeds == (1, 2)
    assert loaded.models["dns"].training.lr == 0.25
    assert loaded.models["dns"].sampler.top == 2
    assert loaded.run == tmp_path / "other"


@pytest.mark.parametrize(
    ("change", "message"),
    [("training.lr", "KEY=VALUE"), ("a=[", "not YAML"), ("data.core=0", "data.core")],
)
def test_a_wrong_change_is_explained(config: Path, change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(config, None, [change])


def test_one_model_and_one_seed_are_trained_and_the_run_folder_serves_as_config(
    config: Path, tmp_path: Path
) -> None:
    done = _call("train", config, "--model", "dns", "--seed", 0)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "train" / "dns-seed0" / "model.safetensors").is_file()
    assert not (tmp_path / "run" / "train" / "uniform-seed0").exists()
    done = _call("run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "= train/dns-seed0: up to date" in done.stdout
    assert "dns (reference)" in done.stdout


def test_an_error_is_printed_without_a_traceback(config: Path) -> None:
    for words, message in (
        (("train", config, "--model", "best"), "there is no stage 'train/best-seed0'"),
        (("run", "absent.yaml"), "there is no such file"),
        (("run", config, "--set", "data.path=absent"), "absent"),
        (("run", config, "--run", config), "File exists"),
    ):
        done = _call(*words)
        assert done.returncode == 1
        assert done.stderr.startswith("error ")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_a_model_that_is_not_one_is_said_before_anything_is_lost(
    config: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    done = _call(
        "synthesize",
        config,
        "--set",
        f"language.model={tmp_path / 'model'}",
    )
    assert done.returncode == 1
    assert "config.json" in done.stderr
    assert (tmp_path / "run" / "prepare" / "stage.json").is_file()


def test_cache_shows_and_prunes_what_models_wrote(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    result = CliRunner().invoke(app, ["cache", "--path", str(path)])
    assert isinstance(result.exception, ConfigError)
    assert not path.exists()
    answers = AnswerCache(path)
    for number in range(3):
        answers.add(str(number), f"model {number % 2}", Answer("x", 10, 20), 1.0)
    shown = CliRunner().invoke(app, ["cache", "--path", str(path)]).output
    assert "3 answers" in shown
    assert "model 0: 2 answers, 20 tokens of prompts and 40 of answers" in shown
    # nothing is a month old
    words = ["cache", "--path", str(path), "--prune"]
    assert "deleted 0 answers" in CliRunner().invoke(app, words).output
    words += ["--days", "0", "--model", "model 0"]
    pruned = CliRunner().invoke(app, words).output
    assert "deleted 2 answers" in pruned
    assert "model 0" not in pruned
    assert len(answers.summary()) == 1


def test_a_sample_of_profiles_writes_no_profiles(config: Path, tmp_path: Path) -> None:
    def reply(messages: list[dict[str, str]]) -> str:
        # what stands before the worked example's answer cannot tell one profile from another
        said = messages[-1]["content"].split("</data>")[0].partition("<data>")[2]
        return json.dumps({"summarization": f"Likes {said}", "reasoning": "It says so."})

    pytest.importorskip("openai", reason="needs the served extra")
    with serve(reply=reply) as fake:
        changes = [
            f"--set=language.server.base_url={fake.url}",
            f"--set=language.answers={tmp_path / 'answers.sqlite'}",
            "--set=profile.model=openai:some/model",
        ]
        shown = _call("profile", config, *changes, "--sample", 2)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.count("== user") == shown.stdout.count("== item") == 2
        assert "4 of 4 accepted" in shown.stdout
        assert "all of them:" in shown.stdout
        assert not (tmp_path / "run" / "profile").exists()
        written = _call("profile", config, *changes, "--update", "--set=profile.generator=llm")
        assert written.returncode == 0, written.stderr
        assert "questions to ask: about" in written.stdout
        assert "4 from the cache" in written.stdout
        n_asked = len(fake.requests)
        # where the server is changes nothing that was written
        again = _call("profile", config, *changes, "--update", "--set=profile.generator=llm",
                      "--set=language.server.timeout=7")  # fmt: skip
        assert "= profile: up to date" in again.stdout
        assert len(fake.requests) == n_asked
