"""The main job in ten lines: interactions and item texts in, a comparison out.

``python examples/quickstart.py`` runs it on MovieLens-100k. For your own data, name a folder with
interactions.csv (user_id, item_id) and items.jsonl (item_id, title, ...):
``python examples/quickstart.py FOLDER``.
"""

import sys
from typing import Any

import numpy as np

from hnlmrec import RunConfig, rank, run


def main(tree: dict[str, Any]) -> None:
    """Compare DNS with HNLMRec and print what the first user should see next."""
    finished = run(RunConfig.from_dict(tree))
    print(finished.table.select("model", "recall@10", "ndcg@10"))

    interactions, titles = finished.interactions, finished.item_texts.titles()
    best = rank(finished.model("hnlmrec").view, np.array([0]), [interactions.train], k=5)[0]
    print(f"user {interactions.user_ids[0]} may like: {[titles[item] for item in best]}")


if __name__ == "__main__":
    config: dict[str, Any] = {"run": "runs/quickstart"}
    if len(sys.argv) > 1:
        config["data"] = {"reader": "table", "path": sys.argv[1], "min_rating": None}
    main(config)
