"""Keep of a CycloneDX document what tells packages apart: names, versions, licences, dependencies.

``make sbom`` has `cyclonedx-py environment` describe ``.venv`` and pipes it through here into
``sbom.json``. Addresses, paths and texts are left out, and what ``constraints.txt`` does not pin.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"


def normal(name: str) -> str:
    """A package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    """The versions of ``constraints.txt``, by normal name."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {normal(name): version for name, version in pairs}


def licences(component: dict[str, Any]) -> list[dict[str, Any]]:
    """The licences of a component, by identifier or name alone."""
    found = []
    for one in component.get("licenses", []):
        if "expression" in one:
            return [{"expression": one["expression"]}]
        name = one["license"].get("id") or one["license"].get("name", "")
        key = "id" if "id" in one["license"] else "name"
        # some packages have the whole text for a name
        found.append({"license": {key: name.strip().splitlines()[0][:80]}})
    return found


def described(name: str, version: str) -> dict[str, Any]:
    """A component without its licences."""
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": name, "name": name, "version": version, "purl": purl}


def reduced(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what is kept, sorted."""
    versions = pinned()
    components, names = [], {}
    for component in document["components"]:
        name, version = normal(component["name"]), component["version"].partition("+")[0]
        if versions.get(name) != version:
            continue
        names[component["bom-ref"]] = name
        of = licences(component)
        components.append(described(name, version) | ({"licenses": of} if of else {}))
    # what is only needed to build is not installed, and so without a licence here
    lacking = versions.keys() - set(names.values())
    components += [described(name, versions[name]) for name in lacking]
    dependencies = [
        {
            "ref": names[one["ref"]],
            "dependsOn": sorted(names[ref] for ref in one.get("dependsOn", []) if ref in names),
        }
        for one in document["dependencies"]
        if one["ref"] in names
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": document["specVersion"],
        "version": 1,
        "metadata": {"component": {"type": "library", "bom-ref": "hnlmrec", "name": "hnlmrec"}},
        "components": sorted(components, key=lambda one: one["name"]),
        "dependencies": sorted(dependencies, key=lambda one: one["ref"]),
    }


if __name__ == "__main__":
    found = reduced(json.load(sys.stdin))
    lists = {
        key: ",\n".join(f"  {json.dumps(one)}" for one in found.pop(key))
        for key in ("components", "dependencies")
    }
    head = json.dumps(found)[:-1]
    print(head, *(f', "{key}": [\n{text}\n]' for key, text in lists.items()), "}", sep="")
