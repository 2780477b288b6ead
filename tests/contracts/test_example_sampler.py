"""The sampler of examples/plugin under the contract of all samplers; docs/extending.md shows it."""

import pytest
from test_sampler_contract import *  # noqa: F403

import plugin_cases
from hnlmrec.config.samplers import SamplerPlugin


@pytest.fixture(params=[{}, {"guard": 0.2, "warmup": 3}], ids=["alone", "guard-warm"])
def config(request, tmp_path, monkeypatch):
    plugin_cases.install(tmp_path, monkeypatch, plugin_cases.entry_points())
    return SamplerPlugin(name="hardest_popular", options={"candidates": 5}, **request.param)
