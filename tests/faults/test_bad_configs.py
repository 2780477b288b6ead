"""Configurations that are wrong, endless or hostile: an error in words, soon, and of some size."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.cli.common import overrides
from hnlmrec.config import RunConfig
from hnlmrec.errors import ConfigError, HnlmrecError

# nine to the ninth strings in ten lines, and two to the fortieth keys in forty
LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "m0: &m0 {a: 1, b: 2}\n" + "".join(
    f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}\n" for n in range(1, 40)
)
WRONG = {
    "a number of 5,000 digits": ("threads: " + "9" * 5000, "not YAML.*digits"),
    "no such day": ("data: {since: 2001-02-30}", "not YAML.*day"),
    "a tag of another kind": ("run: !!timestamp soon", "not YAML"),
    "a tag that runs code": ("run: !!python/object/apply:os.getcwd []", "not YAML.*constructor"),
    "brackets without end": ("run: " + "[" * 600, "nested too deeply"),
    "aliases of aliases": (LAUGHS, "more than 100,000 values"),
    "aliases where keys are": (LAUGHS + "data: *a9\n", "more than 100,000 values"),
    "aliases in pairs": (LAUGHS + "data: !!pairs [x: *a9]\n", "more than 100,000 values"),
    "keys merged without end": (MERGES, "1,000 keys are merged"),
    "a mapping within itself": ("&t {backbone: *t, models: {m: *t}}", "nested more than 50 deep"),
    "a key that is no text": ("{1: 2}", "1: Keys should be strings"),
    "5,000 unknown keys": ("".join(f"k{n}: 1\n" for n in range(5_000)), "and 4,980 more"),
    "an infinite learning rate": ("training: {lr: .inf}", "training.lr: Input should be a finite"),
    "a rate that is no number": ("training: {lr: .nan}", "training.lr: Input should be a finite"),
    "a rating of infinity": ("data: {min_rating: -.inf}", "data.min_rating: Input should be a fin"),
    "a negative seed": ("seed: -1", "seed: Input should be greater than or equal to 0"),
    "a seed of a split": ("data: {split: {seed: -1}}", "data.split.seed: Input should be greater"),
    "a seed beyond 63 bits": ("seeds: [10000000000000000000]", r"seeds\.0: Input should be less"),
    "a name with a zero": ('run: "a\\0b"', "no text that a file can hold"),
    "half of a character": ('run: "\\ud800"', "no text that a file can hold"),
    "two megabytes": ("run: " + "x" * (2 << 20), "larger than 1 MiB"),
    "a very long value": ("threads: " + "x" * 100_000, "threads: Input should be a valid integer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_a_few_words(name: str, tmp_path: Path) -> None:
    text, message = WRONG[name]
    (tmp_path / "config.yaml").write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=message) as error:
            RunConfig.from_yaml(tmp_path / "config.yaml")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(str(error.value)) < 8_000
    assert str(tmp_path / "config.yaml") in str(error.value)
    assert peak < 100 << 20


def test_so_are_values_of_the_command_line() -> None:
    with pytest.raises(ConfigError, match=r"--set data.since=2001-02-30: this is not YAML"):
        overrides(["data.since=2001-02-30"])


def test_anchors_and_merged_keys_of_a_usual_size_are_read(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "models:\n"
        "  dns: &dns {sampler: {name: dns}, training: {l2: 0.5}}\n"
        "  more: {<<: *dns, backbone: {dim: 8}}\n"
    )
    models = RunConfig.from_yaml(tmp_path / "config.yaml").models
    assert (models["more"].training.l2, models["more"].backbone.dim) == (0.5, 8)


def _keys() -> st.SearchStrategy[str]:
    tree = RunConfig().model_dump(mode="json")
    names = {*tree, "name", "base", "m", "dns", "sampler", "loss"}
    for value in tree.values():
        names.update(value if isinstance(value, dict) else ())
    return st.one_of(st.sampled_from(sorted(names)), st.text(max_size=4))


_PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.dates(),
    st.binary(max_size=4), st.sampled_from(["dns", "semantic", "bpr", "sl", "lightgcn", "table"]),
)  # fmt: skip
_TREES = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_keys(), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(st.dictionaries(_keys(), _TREES, max_size=5))
def test_any_tree_is_a_configuration_or_explained(tree: dict[str, object]) -> None:
    try:
        config = RunConfig.from_dict(tree)
    except HnlmrecError:
        return
    config.to_yaml()
