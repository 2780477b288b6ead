"""The main job in ten lines: your interactions and item texts in, a comparison out.

``python examples/quickstart.py`` runs it on MovieLens-100k. For your own data, give a folder with
interactions.csv (user_id, item_id) and items.jsonl (item_id, title, ...):
``python examples/quickstart.py FOLDER``. The second argument names another language model.
"""

import sys

from hnlmrec import RunConfig, rank, run


def main(
    data: str | None = None, model: str = "embedded:smollm2", folder: str = "runs/quick"
) -> None:
    """Compare DNS with HNLMRec and print what the first user should see next."""
    tree = {"run": folder, "language": {"model": model}}
    if data is not None:
        tree["data"] = {"reader": "table", "path": data, "min_rating": None}
    finished = run(RunConfig.from_dict(tree))

    interactions, titles = finished.interactions, finished.item_texts.titles()
    best = rank(finished.model("hnlmrec").view, [0], [interactions.train], k=5)[0]
    print(finished.table.select("model", "recall@20", "ndcg@20"))
    print(f"user {interactions.user_ids[0]}: {[titles[item] for item in best]}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
