"""The backbone of examples/plugin under the contract of all backbones."""

import pytest
from test_backbone_contract import *  # noqa: F403

import plugin_cases


@pytest.fixture
def name(tmp_path, monkeypatch):
    plugin_cases.install(tmp_path, monkeypatch, plugin_cases.entry_points())
    return "last_layer"
