"""The presets of the paper's data sets on small files of the formats that a user downloads."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from hnlmrec.config import RunConfig
from hnlmrec.config.presets import PRESETS, preset
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.data.prepare import load_reviews
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.pipeline import Pipeline
from hnlmrec.reporting import Reporter

Record = dict[str, Any]
# user, item, rating, second since 1970 (UTC), text
Event = tuple[str, str, float, int, str]


def second(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def of_2018(event: Event) -> Record:
    user, item, rating, time, text = event
    names = ("reviewerID", "asin", "overall", "unixReviewTime", "reviewText")
    return dict(zip(names, (user, item, rating, time, text), strict=True))


def of_2023(event: Event) -> Record:
    user, item, rating, time, text = event
    ids = {"user_id": user, "asin": f"{item}-variant", "parent_asin": item}
    # the last millisecond of the second
    return {**ids, "rating": rating, "timestamp": 1000 * time + 999, "text": text}


def of_yelp(event: Event) -> Record:
    user, item, rating, time, text = event
    moment = datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S")
    ids = {"user_id": user, "business_id": item}
    return {**ids, "stars": rating, "date": moment, "text": text}


AMAZON = {"title": "A thing", "description": ["Of use."]}
SETS: dict[str, tuple[str, Callable[[Event], Record], str, str, Record]] = {
    "paper-toys": (
        "Toys_and_Games.json.gz",
        of_2018,
        "meta_Toys_and_Games.json.gz",
        "asin",
        AMAZON,
    ),
    "paper-cds": ("CDs_and_Vinyl_5.json", of_2018, "meta_CDs_and_Vinyl.json", "asin", AMAZON),
    "paper-yelp": (
        "yelp_academic_dataset_review.json",
        of_yelp,
        "yelp_academic_dataset_business.json",
        "business_id",
        {"name": "A thing", "city": "Of use.", "categories": None},
    ),
    "paper-electronics": (
        "Electronics.jsonl.gz",
        of_2023,
        "meta_Electronics.jsonl.gz",
        "parent_asin",
        AMAZON,
    ),
}
# first second of the window, and the first after it
WINDOWS = {
    "paper-toys": ("2015-01-01", "2018-01-01"),
    "paper-cds": ("2014-01-01", "2016-01-01"),
    "paper-yelp": ("2015-01-01", "2018-01-01"),
    "paper-electronics": ("2010-01-01", "2018-01-01"),
}
COUNTS = {
    "paper-toys": (22_338, 9_023, 200_511),
    "paper-cds": (19_385, 8_279, 186_535),
    "paper-yelp": (29_832, 16_781, 513_976),
    "paper-electronics": (97_570, 44_669, 178_259),
}
SIDE = 11


def write_lines(path: Path, records: list[Record]) -> None:
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def events(name: str) -> list[Event]:
    """11 users with 11 items, all within the window and at its edges, and what must be dropped."""
    first, past = (second(text) for text in WINDOWS[name])
    least = 3.0 if name == "paper-electronics" else 4.0
    block = [
        (f"u{u}", f"i{i}", least, (first, past - 1)[(u + i) % 2], f"text of u{u} i{i}")
        for u in range(SIDE)
        for i in range(SIDE)
    ]
    # items that the 10-core would keep, if the filters before it let them pass
    dropped = [
        (f"u{u}", item, rating, time, "")
        for u in range(SIDE)
        for item, rating, time in (
            ("early", 5.0, first - 1),
            ("late", 5.0, past),
            ("disliked", least - 1, first),
        )
    ]
    again = ("u0", "i0", 5.0, first + 5, "again")
    few = [("once", "i0", 5.0, first, "")]
    few += [("nine", f"i{i}", 5.0, first + 9, "") for i in range(9)]
    return [*dropped, again, *block, *few]


@pytest.fixture
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Record:
    """The preset, with files of its format that the test wrote."""
    name = request.param
    reviews, record_of, items, id_name, item = SETS[name]
    found = events(name)
    write_lines(tmp_path / reviews, [record_of(event) for event in found])
    write_lines(tmp_path / items, [{id_name: i, **item} for i in {event[1] for event in found}])
    tree = yaml.safe_load(preset(name))
    tree["data"]["path"] = str(tmp_path)
    return {**tree, "run": str(tmp_path / "run")}


def prepare(tree: Record) -> tuple[str, Path]:
    out = io.StringIO()
    config = RunConfig.from_dict(tree)
    Pipeline(config, Reporter(Console(file=out, width=200))).run(["prepare"])
    return out.getvalue(), config.run / "prepare"


@pytest.mark.parametrize(("tree", "name"), [(name, name) for name in SETS], indirect=["tree"])
def test_files_are_filtered_and_counted(tree: Record, name: str) -> None:
    printed, folder = prepare(tree)
    data = Interactions.load(folder)
    block = {f"u{n}" for n in range(SIDE)}, {f"i{n}" for n in range(SIDE)}
    cored = tree["data"]["core"] == 10
    assert set(data.user_ids) == (block[0] if cored else block[0] | {"nine", "once"})
    assert set(data.item_ids) == block[1]
    n = sum(data.part(part).nnz for part in ("train", "valid", "test"))
    assert n == SIDE**2 + (0 if cored else 10)
    assert ItemTexts.load(folder).titles() == ["A thing"] * SIDE
    assert set(ItemTexts.load(folder).frame["description"]) == {"Of use."}

    users, items, interactions = COUNTS[name]
    assert f"users: {data.n_users} found, {users:,} expected" in printed
    assert f"items: {SIDE} found, {items:,} expected" in printed
    assert f"interactions: {n} found, {interactions:,} expected" in printed
    assert "note: users, items, interactions off by more than 1%" in printed


@pytest.mark.parametrize("tree", SETS, indirect=True)
def test_profiles_get_the_reviews_of_training_pairs(tree: Record) -> None:
    _, folder = prepare(tree)
    data, reviews = Interactions.load(folder), load_reviews(folder)
    trained = {
        (data.user_ids[int(u)], data.item_ids[int(i)])
        for u, i in zip(*data.pairs("train"), strict=True)
    }
    found = {
        (data.user_ids[user], data.item_ids[item]): text for user, item, text in reviews.rows()
    }
    expected = {
        pair: f"text of {' '.join(pair)}" for pair in trained if pair[0] not in ("nine", "once")
    }
    assert found == expected


@pytest.mark.parametrize("tree", ["paper-yelp"], indirect=True)
def test_a_day_more_is_a_day_more(tree: Record) -> None:
    tree["data"] |= {"until": "2018-01-01", "core": 1, "expected": None}
    printed, folder = prepare(tree)
    assert "late" in Interactions.load(folder).item_ids
    assert "early" not in Interactions.load(folder).item_ids
    assert "expected" not in printed


@pytest.mark.parametrize("tree", ["paper-toys", "paper-yelp"], indirect=True)
def test_files_of_another_kind_are_refused(tree: Record, tmp_path: Path) -> None:
    tree["data"]["reader"] = {"amazon": "yelp", "yelp": "amazon"}[tree["data"]["reader"]]
    with pytest.raises(DataError, match=r"there is no file .*or choose another data\.reader"):
        prepare(tree)
    tree["data"]["path"] = str(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"elsewhere: there is no such folder.*data\.path"):
        prepare(tree)


@pytest.mark.parametrize("name", PRESETS[1:])
def test_a_preset_is_the_recipe_of_the_paper_on_its_data(name: str) -> None:
    recipe, ours = (yaml.safe_load(preset(text)) for text in ("paper", name))
    alone = yaml.safe_load(preset(name, data_only=True))
    assert alone == {"run": ours["run"], "data": ours["data"]}
    RunConfig.from_dict(alone)
    config = RunConfig.from_dict(ours)
    alpha = 1e-4 if name == "paper-yelp" else 1e-2
    assert config.models["hnlmrec"].sampler.alpha == alpha
    finetune = config.synthesis.finetune
    if expected := config.data.expected:
        counts = (expected.users, expected.items, expected.interactions)
        assert counts == COUNTS[name]
        epochs = finetune.steps * finetune.batch_users * finetune.pairs_per_user
        assert epochs / (0.8 * expected.interactions) == pytest.approx(5, rel=0.01)
    # all else is shared
    for tree in (recipe, ours):
        del tree["run"], tree["data"], tree["models"]["hnlmrec"]["sampler"]["alpha"]
        del tree["synthesis"]["finetune"]["steps"], tree["synthesis"]["transfer_from"]
    assert ours == recipe


def test_electronics_uses_the_model_fine_tuned_on_toys() -> None:
    toys, electronics = (
        RunConfig.from_dict(yaml.safe_load(preset(f"paper-{name}")))
        for name in ("toys", "electronics")
    )
    assert electronics.synthesis.transfer_from == toys.run
    assert toys.synthesis.transfer_from is None


def test_the_demo_has_no_data_of_the_paper() -> None:
    with pytest.raises(ConfigError, match=r"drop --data-only"):
        preset("demo", data_only=True)
