"""A run whose language stages can be shared out, and what it must come to."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from hnlmrec.config import RunConfig, merge
from hnlmrec.pipeline import Pipeline
from hnlmrec.reporting import Reporter
from synthetic import small_tree

ASKING = ["profile", "name", "pick"]
ENCODING = ["encode/items", "encode/users"]
PAIRWISE = {"synthesis": {"mode": "pairwise"}}


def language_config(data: Path, model: Path, run: Path, url: str, **changes: Any) -> RunConfig:
    """A server writes, a tiny model encodes, and each run has its own cache of answers."""
    tree = small_tree(data, model, run, threads=1)
    tree["synthesis"]["route_a"] = {"pairs": 12}
    tree["pick"] = {"max_users": 12, "candidates": 4}
    tree["profile"] = {"generator": "llm", "model": "openai:fake", "max_fallback_share": 0.2}
    tree["language"] |= {
        "answers": str(run.parent / f"{run.name}.sqlite"),
        "server": {"base_url": url, "retries": 0, "concurrency": 2},
    }
    return RunConfig.from_dict(merge(tree, changes))


def reply(messages: list[dict[str, str]]) -> str:
    """A profile, a name or a pick, whichever is asked for; some only when they are repaired."""
    data = [one["content"] for one in messages if "<data>" in one["content"]][-1]
    text = data.split("<data>")[-1].split("</data>")[0]
    repaired = "This answer cannot be used" in messages[-1]["content"]
    fields = json.loads(text)
    if len(text) % 5 == 0 and not repaired:
        return "no"
    if fields.get("title") in ("Film 3", "Film 4"):
        return "never"
    if "candidates" in fields:
        return json.dumps({"favourite": str(1 + len(text) % 2), "least": "3"})
    if "hard_negative_item" in "".join(message["content"] for message in messages):
        return json.dumps({"hard_negative_item": f"Film {len(text) % 30}", "reasoning": "So."})
    return json.dumps({"summarization": f"Likes {text}", "reasoning": "It says so."})


def pipeline_of(config: RunConfig, **options: bool) -> tuple[Pipeline, io.StringIO]:
    """A pipeline, and what it prints."""
    out = io.StringIO()
    return Pipeline(config, Reporter(Console(file=out, width=200)), **options), out


def artefacts(run: Path, stage: str) -> dict[str, Any]:
    """The files of a stage, and its report but for what was spent."""
    found: dict[str, Any] = {}
    for file in sorted((run / stage).iterdir()):
        if file.name == "report.json":
            report = json.loads(file.read_bytes())
            found[file.name] = {
                key: value for key, value in report.items() if key not in ("seconds", "usage")
            }
        elif file.name not in ("stage.json", "log.jsonl"):
            found[file.name] = file.read_bytes()
    return found
