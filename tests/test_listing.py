from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter
from rich.console import Console
from typer.testing import CliRunner

import plugin_cases
from hnlmrec import listing
from hnlmrec.backbones import BACKBONES
from hnlmrec.baselines import BASELINES
from hnlmrec.cli import app
from hnlmrec.config import BackboneConfig, LossConfig, ModelConfig, RunConfig, SamplerConfig
from hnlmrec.config.models import TEXT_BACKBONES
from hnlmrec.losses import LOSSES
from hnlmrec.negatives import SAMPLERS
from hnlmrec.studies.tune import Grid

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
NAMES = {
    "samplers": [*SAMPLERS, "semantic"],
    "losses": list(LOSSES),
    "backbones": list(BACKBONES),
}
SECTIONS = {"samplers": SamplerConfig, "losses": LossConfig, "backbones": BackboneConfig}
every_list = pytest.mark.parametrize("kind", NAMES)


def _printed(kind: str, width: int) -> list[str]:
    file = io.StringIO()
    listing.print_list(kind, Console(file=file, width=width))
    return file.getvalue().splitlines()


def _heads(lines: list[str]) -> list[str]:
    """What stands in the column of names, above the remarks."""
    entries = lines[: lines.index("")]
    return [line.split()[0] for line in entries if not line.startswith(" ")]


def _options(kind: str, name: str) -> dict[str, object]:
    entry = next(one for one in listing.LISTS[kind][0]() if one.name == name)
    return dict(entry.options)


@every_list
@pytest.mark.parametrize("width", [60, 100, 200])
def test_every_name_appears_once_and_every_line_fits(kind: str, width: int) -> None:
    lines = _printed(kind, width)
    assert sorted(_heads(lines)) == sorted(NAMES[kind])
    entries = lines[: lines.index("")]
    assert max(map(len, entries)) <= min(width, 100)
    assert all(line == line.rstrip() for line in lines)


@every_list
def test_each_entry_has_a_summary_and_a_paper(kind: str) -> None:
    for entry in listing.LISTS[kind][0]():
        assert re.fullmatch(r"[A-Z].{10,}\.", entry.summary), entry
        assert re.fullmatch(r"[A-Z].* \d{4}|arXiv [\d.]+", entry.paper), entry


@every_list
def test_what_is_shown_may_be_written_into_a_configuration(kind: str) -> None:
    text = "\n".join(_printed(kind, 100))
    for name in NAMES[kind]:
        block = re.search(rf"^{name} .*?(?=^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL)
        assert block
        shown = " ".join(block[0].split()).rpartition(" | ")[2]
        tree = {"name": name, **yaml.safe_load(f"{{{shown}}}")}
        section = TypeAdapter(SECTIONS[kind]).validate_python(tree)
        default = TypeAdapter(SECTIONS[kind]).validate_python({"name": name})
        if kind == "backbones":  # there null stands for what is shown
            for key in ("contrastive_weight", "contrastive_temperature", "noise"):
                if key in tree:
                    assert section.setting(key) == default.setting(key)
            section, default = section.dim, default.dim
        assert section == default


def test_a_backbone_shows_the_keys_that_it_reads_and_the_numbers_that_it_takes() -> None:
    assert _options("backbones", "mf") == {"dim": 64}
    assert _options("backbones", "lightgcn") == {"dim": 64, "layers": 2}
    assert _options("backbones", "xsimgcl") == {
        "dim": 64,
        "layers": 2,
        "contrastive_weight": 0.2,
        "contrastive_temperature": 0.15,
        "noise": 0.2,
        "contrastive_layer": 1,
    }


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ('As in Wu et al., "A Long\n    Title, with 2 commas", ICDE 2024,', "Wu et al., ICDE 2024"),
        ('Koren, Bell and Volinsky, "Title", 2009.', "Koren, Bell and Volinsky, 2009"),
        (
            "(logQ correction; Yi et al., RecSys 2019). Lai et al., AAAI 2024",
            "Yi et al., RecSys 2019",
        ),
        ("Mine (arXiv 2504.04726) mixes.", "arXiv 2504.04726"),
        ("No paper, 64 options.", ""),
        (None, ""),
    ],
)
def test_the_first_citation_of_a_docstring(docstring: str | None, expected: str) -> None:
    assert listing.paper(docstring) == expected


def test_plug_ins_are_listed_and_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_cases.install(tmp_path, monkeypatch, plugin_cases.entry_points())
    for kind, name, options in (
        ("samplers", "hardest_popular", "{candidates: 8, beta: 0.75}, warmup: 0, guard: null"),
        ("losses", "squared_hinge", "{margin: 1.0}"),
        ("backbones", "last_layer", "{keep: 0.1}"),
    ):
        result = CliRunner().invoke(app, [kind])
        assert result.exit_code == 0, result.output
        lines = result.output.splitlines()
        assert sorted(_heads(lines)) == sorted([*NAMES[kind], name])
        text = " ".join(result.output.partition(f"\n{name} ")[2].split())
        assert "plug-in of hnlmrec-example | " in text
        assert f"options: {options}" in text
        assert result.output.count("plug-in of") == 1


def test_a_plug_in_that_cannot_be_chosen_says_why_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"hnlmrec.losses": {"bpr": "hnlmrec_example.loss:SquaredHinge", "lost": "nowhere:X"}}
    plugin_cases.install(tmp_path, monkeypatch, points, package="their-losses")
    entries = {(one.name, one.plugin): one for one in listing.losses()}
    mark = "plug-in of their-losses"
    assert "the name is that of a built-in" in entries["bpr", mark].summary
    assert "No module named 'nowhere'" in entries["lost", mark].summary
    assert {name for name, plugin in entries if not plugin} == set(LOSSES)


def test_the_readme_names_them_all_and_its_example_is_right() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| `hnlmrec \w+` \| (.*) \|$", README, flags=re.MULTILINE))
    assert rows.keys() == NAMES.keys()
    for kind, row in rows.items():
        named = [name for name in re.findall(r"\w+", row) if name in NAMES[kind]]
        assert sorted(named) == sorted(NAMES[kind])
    example, grid = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert list(Grid.model_validate(yaml.safe_load(grid)).spaces) == ["dns"]
    assert RunConfig.from_dict(yaml.safe_load(example)).models["ours"].loss.name == "sl"


def test_a_pipe_gets_plain_text_of_100_columns() -> None:
    command = [sys.executable, "-m", "hnlmrec", "samplers"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert 90 < max(map(len, done.stdout.splitlines())) <= 100
    assert done.stdout.splitlines() == _printed("samplers", 100)


@pytest.mark.parametrize("width", [60, 100])
def test_baselines_show_the_section_that_chooses_them(width: int) -> None:
    lines = _printed("baselines", width)
    heads = _heads(lines)
    assert heads == [*BASELINES, *TEXT_BACKBONES, "meaning", "alignment"]
    assert max(map(len, lines[: lines.index("")])) <= width
    text = "\n".join(lines)
    for name in heads:
        block = re.search(rf"^{name} .*?(?=^\S|\Z)", text, flags=re.MULTILINE | re.DOTALL)
        assert block
        shown = " ".join(block[0].split("\n\n")[0].split()).rpartition(" | ")[2]
        section = re.search(r"(baseline|backbone|sampler|alignment): .*", shown)
        assert section
        model = ModelConfig.model_validate(yaml.safe_load(f"{{{section[0]}}}"))
        assert model.needs_language


def test_baselines_of_papers_name_them() -> None:
    papers = {entry.name: entry.paper for entry in listing.baselines()}
    assert papers["kar"] == "Xi et al., RecSys 2024"
    assert papers["alpharec"] == "Sheng et al., ICLR 2025"
    assert all(papers[name] for name in (*BASELINES, *TEXT_BACKBONES))
