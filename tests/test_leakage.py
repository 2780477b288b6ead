"""Held-out labels reach nothing but the choice of the epoch (validation) and the metrics (test).

Two data sets agree in every training row and differ in all held-out ones: other items, ratings and
reviews. Whatever is learned from the one must be learned from the other, bit for bit.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from hnlmrec.config import RunConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.negatives import Uninteracted
from hnlmrec.pipeline import Pipeline
from hnlmrec.reporting import Reporter
from hnlmrec.training.model import FILE as MODEL_FILE
from openai_server import FakeServer, serve
from synthetic import small_tree

pytest.importorskip("openai", reason="needs the served extra")
pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")

# more items than the 20 that validation looks at
N_USERS, N_ITEMS = 24, 60
TRAINED = 6
EPOCHS = 4
# what differs between any two runs: times, and prompts that a later run finds answered
_VOLATILE = {"seconds", "seconds_per_epoch", "usage", "history"}


def _write(folder: Path, valid: str, test: str) -> Path:
    """Amazon's files: each user has six training items, then one to validation, one to test.

    All training rows stand before the others and name every item, so that users and items have the
    same numbers whatever is held out. ``valid`` and ``test`` say ``clean`` or ``poisoned``.
    """
    folder.mkdir()
    random = np.random.default_rng(0)
    order = [np.roll(np.arange(N_ITEMS), -TRAINED * user) for user in range(N_USERS)]
    items = [np.append(all_[:TRAINED], random.permutation(all_[TRAINED:])[:4]) for all_ in order]
    rows: list[dict[str, Any]] = []

    def row(user: int, place: int, time: int, kind: str) -> None:
        item = int(items[user][place])
        text = f"{kind} words of user {user} on item {item}"
        rows.append(
            {
                "reviewerID": f"U{user}",
                "asin": f"I{item}",
                "overall": 4.0 if kind == "poisoned" else 5.0,
                "unixReviewTime": time,
                "summary": text,
                "reviewText": f"{text}, at length",
            }
        )

    for user in range(N_USERS):
        for place in range(TRAINED):
            row(user, place, 1000 + place, "training")
    assert len({one["asin"] for one in rows}) == N_ITEMS
    for user in range(N_USERS):
        row(user, TRAINED + 2 * (valid == "poisoned"), 2000, valid)
        row(user, TRAINED + 1 + 2 * (test == "poisoned"), 3000, test)
    for name, some in (
        ("Toys_5.json", rows),
        (
            "meta_Toys.json",
            [
                {"asin": f"I{n}", "title": f"Toy {n}", "category": ["Dolls", "Trains"][n % 2 :]}
                for n in range(N_ITEMS)
            ],
        ),
    ):
        (folder / name).write_text("".join(json.dumps(one) + "\n" for one in some))
    return folder


@dataclass
class Finished:
    """A finished run, and what was asked of the server that wrote its profiles."""

    config: RunConfig
    asked: set[str] = field(default_factory=set)

    def interactions(self) -> Interactions:
        return Interactions.load(self.config.run / "prepare")

    def digests(self, *, left_out: tuple[str, ...] = ()) -> dict[str, str]:
        """A hash of every file of content, by its path in the run folder."""
        found = {}
        for file in sorted(path for path in self.config.run.rglob("*") if path.is_file()):
            name = file.relative_to(self.config.run).as_posix()
            if name.startswith(left_out) or name in ("config.yaml", "manifest.json"):
                continue
            if file.name == "stage.json":
                continue
            content = file.read_bytes()
            if file.suffix == ".json":
                content = json.dumps(_lasting(json.loads(content)), sort_keys=True).encode()
            found[name] = hashlib.sha256(content).hexdigest()
        return found


def _lasting(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _lasting(value) for key, value in tree.items() if key not in _VOLATILE}
    return tree


def _run(
    data: Path, model: Path, folder: Path, fake: FakeServer, *, early_stopping: bool
) -> Finished:
    tree = small_tree(data, model, folder / "run")
    tree["data"] = {
        "reader": "amazon",
        "path": str(data),
        "min_rating": None,
        "core": 1,
        "split": {"method": "leave_one_out"},
    }
    tree["language"] |= {
        "answers": str(folder / "answers.sqlite"),
        "server": {"base_url": fake.url, "response_format": "text"},
    }
    # every profile by a model, so that every prompt is seen
    tree["profile"] = {"generator": "llm", "model": "openai:writer", "history": 8}
    # with as many epochs as there are evaluations, validation has nothing to choose
    every = 1 if early_stopping else EPOCHS
    tree["training"] |= {"epochs": EPOCHS, "evaluate_every": every, "patience": 100}
    tree["models"] |= {
        "mf": {
            "backbone": {"name": "mf", "dim": 8},
            "training": {"optimizer": "lazy_adam"},
        },
        "popularity": {"sampler": {"name": "popularity"}},
        "texts": {"alignment": {"weight": 0.1, "interaction_weight": 0.1, "hidden": 8}},
        "kar": {"baseline": {"name": "kar"}},
        "llmrec": {"baseline": {"name": "llmrec"}},
    }
    tree["pick"] = {"picker": "encoder", "candidates": 3}
    config = RunConfig.from_dict(tree)
    before = len(fake.requests)
    Pipeline(config, Reporter(Console(file=io.StringIO()))).run(["compare"])
    asked = {json.dumps(request["messages"]) for request in fake.requests[before:]}
    return Finished(config, asked)


def _reply(messages: list[dict[str, str]]) -> str:
    """A profile that depends on all of the question."""
    mark = hashlib.sha256(messages[-1]["content"].encode()).hexdigest()[:8]
    return json.dumps({"summarization": f"Toy Dolls Trains {mark}", "reasoning": "Said so."})


@pytest.fixture(scope="module")
def runs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Runs on data whose held-out parts are clean or poisoned, each made once."""
    root = tmp_path_factory.mktemp("leakage")
    done: dict[tuple[str, str, bool], Finished] = {}
    with serve(reply=_reply) as fake:

        def finished(valid: str, test: str, *, early_stopping: bool) -> Finished:
            key = (valid, test, early_stopping)
            if key not in done:
                folder = root / "-".join(map(str, key))
                folder.mkdir()
                data = _write(folder / "data", valid, test)
                done[key] = _run(data, tiny_model, folder, fake, early_stopping=early_stopping)
            return done[key]

        yield finished


def _assert_different(
    clean: Finished, poisoned: Finished, *, valid: bool, test: bool = True
) -> None:
    """The poison is there: otherwise nothing would be shown."""
    ours, theirs = clean.interactions(), poisoned.interactions()
    for split, wanted in (("valid", valid), ("test", test)):
        parts = ours.part(split), theirs.part(split)
        assert parts[0].nnz == parts[1].nnz == N_USERS
        both = parts[0].multiply(parts[1]).nnz
        assert both == (0 if wanted else N_USERS)


def test_poisoned_validation_and_test_change_nothing_that_is_learned(runs: Any) -> None:
    clean = runs("clean", "clean", early_stopping=False)
    poisoned = runs("poisoned", "poisoned", early_stopping=False)
    _assert_different(clean, poisoned, valid=True)
    ours, theirs = clean.interactions(), poisoned.interactions()
    assert (ours.train != theirs.train).nnz == 0
    assert ours.user_ids.equals(theirs.user_ids)
    assert ours.item_ids.equals(theirs.item_ids)

    # what may differ: the held-out pairs, what validation measured, and what test did
    may = ("prepare/interactions.parquet", "evaluate/", "compare/")
    ours, theirs = (one.digests(left_out=may) for one in (clean, poisoned))
    differing = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
    assert differing <= {name for name in ours if name.endswith("/report.json")}
    for name in differing:
        first, second = (
            _lasting(json.loads((one.config.run / name).read_bytes())) for one in (clean, poisoned)
        )
        changed = {key for key in first if first[key] != second[key]}
        # how good the only epoch is on validation is not learned from
        assert name.startswith("train/")
        assert changed == {"valid_recall"}
    # what the claim is about was compared
    for stage in (
        "prepare/reviews.parquet",
        "profile/users.parquet",
        "profile/items.parquet",
        "encode/items/untuned-00000.float16",
        "encode/users/untuned-00000.float16",
        "pick/picks.parquet",
        "pretrain/embeddings.safetensors",
        "finetune/adapter.safetensors",
        "finetune/log.jsonl",
        "synthesize/negatives-00000.float16",
        *(f"train/{model}-seed0/{MODEL_FILE}" for model in clean.config.models),
    ):
        assert stage in ours
        assert ours[stage] == theirs[stage]
    # and the metrics are of other labels
    metrics = "evaluate/dns-seed0/per_user.parquet"
    first, second = (pl.read_parquet(one.config.run / metrics) for one in (clean, poisoned))
    assert not first.equals(second)


def test_no_prompt_quotes_a_held_out_review(runs: Any) -> None:
    clean = runs("clean", "clean", early_stopping=False)
    poisoned = runs("poisoned", "poisoned", early_stopping=False)
    assert len(clean.asked) == N_USERS + N_ITEMS
    assert clean.asked == poisoned.asked
    text = "".join(clean.asked)
    assert "training words of user 3" in text
    assert "clean words" not in text
    assert "poisoned words" not in text


def test_losses_and_negatives_of_every_epoch_are_the_same(runs: Any) -> None:
    clean = runs("clean", "clean", early_stopping=False)
    poisoned = runs("poisoned", "poisoned", early_stopping=False)
    for model in clean.config.models:
        name = f"train/{model}-seed0/report.json"
        histories = [
            json.loads((one.config.run / name).read_bytes())["history"] for one in (clean, poisoned)
        ]
        assert len(histories[0]) == EPOCHS
        for history in histories:
            for row in history:
                row.pop("valid_recall", None)
        assert histories[0] == histories[1]
    pools = [Uninteracted(one.interactions().train, "cpu") for one in (clean, poisoned)]
    assert all((pools[0].indptr == pools[1].indptr).tolist())
    assert all((pools[0].free_before == pools[1].free_before).tolist())


def test_poisoned_test_labels_change_nothing_at_all_before_evaluation(runs: Any) -> None:
    """With early stopping too: which epoch is kept, and when training stops."""
    clean = runs("clean", "clean", early_stopping=True)
    poisoned = runs("clean", "poisoned", early_stopping=True)
    _assert_different(clean, poisoned, valid=False)
    may = ("prepare/interactions.parquet", "evaluate/", "compare/")
    assert clean.digests(left_out=may) == poisoned.digests(left_out=may)


def test_validation_may_choose_the_epoch_and_no_more(runs: Any) -> None:
    """The guard can fail: what early stopping does is seen by it."""
    clean = runs("clean", "clean", early_stopping=True)
    poisoned = runs("poisoned", "clean", early_stopping=True)
    _assert_different(clean, poisoned, valid=True, test=False)
    may = ("prepare/interactions.parquet", "evaluate/", "compare/")
    ours, theirs = (one.digests(left_out=may) for one in (clean, poisoned))
    differing = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
    assert differing
    assert all(name.startswith("train/") for name in differing)
