"""The example package of plug-ins, made visible as pip would, without pip."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"


def entry_points() -> dict[str, dict[str, str]]:
    """Group, name and target, as the example's pyproject.toml has them."""
    text = (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    points: dict[str, dict[str, str]] = tomllib.loads(text)["project"]["entry-points"]
    return points


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    points: dict[str, dict[str, str]],
    package: str = "hnlmrec-example",
) -> None:
    """Put a package with these entry points, and the example's code, on ``sys.path``."""
    info = folder / f"{package.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
    lines = [
        line
        for group, names in points.items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in names.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(folder))
