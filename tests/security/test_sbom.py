"""The software bill of materials names what is installed, and nothing of where it was made."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> dict:
    return json.loads((ROOT / "sbom.json").read_text("utf-8"))


def test_it_has_the_versions_of_the_constraints(document: dict) -> None:
    lines = (ROOT / "constraints.txt").read_text("utf-8").split()
    pinned = {re.sub(r"[-_.]+", "-", line).lower() for line in lines}
    listed = [f"{one['name']}=={one['version']}" for one in document["components"]]
    assert {re.sub(r"[-_.]+", "-", one) for one in listed} == pinned, "run `make sbom`"
    assert len(listed) == len(pinned)


def test_it_is_a_graph_of_its_components(document: dict) -> None:
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    names = {one["bom-ref"] for one in document["components"]}
    needed = {name for one in document["dependencies"] for name in one["dependsOn"]}
    assert needed <= names
    assert {one["ref"] for one in document["dependencies"]} <= names
    assert len(needed) > 20


def test_it_names_no_host_and_no_path() -> None:
    text = (ROOT / "sbom.json").read_text("utf-8")
    assert "://" not in text
    assert not re.search(r'"[^"]*/(?:home|root|work|tmp|usr|opt|var)/', text)
