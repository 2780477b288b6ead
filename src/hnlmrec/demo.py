"""The demo: the main job on MovieLens-100k with SmolLM2, and what it found in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hnlmrec.config import RunConfig
from hnlmrec.pipeline import Pipeline
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import COMPARE

# busy users and items alone, cut texts, one LoRA step and a few epochs: to see that everything
# works, not how well
_QUICK: dict[str, Any] = {
    "data": {"core": 20},
    "language": {"max_tokens": 12},
    "profile": {"llm_sample_users": 1, "llm_sample_items": 1},
    "synthesis": {
        "pretrain_epochs": 4,
        "finetune": {"steps": 1, "batch_users": 2, "head_steps": 40, "head_batch": 128},
    },
    "training": {"epochs": 4},
}
_EXAMPLES = 3


def run_demo(folder: Path, *, quick: bool, reporter: Reporter, update: bool = False) -> None:
    """Run the default configuration and print the comparison and a few users in words."""
    config = RunConfig.from_dict({**(_QUICK if quick else {}), "run": str(folder)})
    pipeline = Pipeline(config, reporter, update=update)
    pipeline.run([COMPARE])
    from hnlmrec.studies.examples import examples

    reporter.line()
    for example in examples(pipeline.context, _EXAMPLES):
        for line in example.lines():
            reporter.line(line)
    reporter.line()
    if quick:
        reporter.line("This was the quick form: its numbers say that it runs, not how good it is.")
    for line in pipeline.lines("compare"):
        reporter.line(line)
    reporter.line(
        "uniform, dns: ID-based samplers. alignment: dns, with item texts aligned to the item "
        "embeddings. texts: alignment, and users rank the texts of their items above those of "
        "others. hnlmrec: texts, with synthesised negatives among the others. noise: hnlmrec with "
        "random vectors in their place (control)."
    )
    reporter.line(f"artefacts: {folder} (manifest.json says what made them)")
