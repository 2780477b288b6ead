"""Route A: what is asked, what an answer is worth, which item it means, and training on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from hnlmrec.config import ProfileConfig, RouteAConfig, ServerConfig, SupervisionConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.errors import ConfigError, ModelError
from hnlmrec.profiles.prompts import Request
from hnlmrec.profiles.schema import RejectedAnswerError
from hnlmrec.profiles.store import Profiles
from hnlmrec.profiles.wording import Wording
from hnlmrec.synthesis.finetune import SynthesisInputs
from hnlmrec.synthesis.grounding import ground, simple
from hnlmrec.synthesis.named import NAMES, Named, NamedNegatives
from hnlmrec.synthesis.naming import NamingReport, read_name, write_names
from hnlmrec.synthesis.pairs import PairSampler
from hnlmrec.synthesis.supervision import Supervision
from profile_cases import FakeLanguageModel, data_of, fake_writer, text_frame
from synthesis_cases import load_language, synthesis_config
from synthetic import N_ITEMS, N_USERS

WORDING = Wording.read("names")


def answer(name: str) -> str:
    return json.dumps({"hard_negative_item": name, "reasoning": "So."})


@pytest.mark.parametrize(
    ("name", "item", "how"),
    [
        ("the GODFATHER (1972)", 0, "title"),
        ("Godfather, The", 0, "similar title"),
        ("Alien Resurection", 2, "similar title"),
        ("A mob film", 3, "meaning"),
        ("Something else", -1, "nothing"),
        ("???", -1, "nothing"),
        ("Twins", 4, "title"),
    ],
)
def test_a_name_is_found_by_title_then_by_letters_then_by_meaning(
    name: str, item: int, how: str
) -> None:
    titles = ["The Godfather (1972)", "Heat", "Alien: Resurrection", "Goodfellas", "Twins", "twins"]
    of_titles = torch.eye(6)
    # near Goodfellas, near Goodfellas but not enough, and near nothing
    near = {"A mob film": 3, "???": 3}
    vector = of_titles[near[name]] if name in near else torch.full((6,), 1 / 6)
    grounding = ground([name], titles, 88, (vector[None], of_titles), 0.6)
    assert (grounding.items.tolist(), grounding.how) == ([item], [how])
    by_letters = ground([name], titles, 88, None, 0.6)
    assert by_letters.how == [how if how != "meaning" else "nothing"]


def test_titles_are_compared_without_year_punctuation_and_case() -> None:
    assert simple("Seven (Se7en) (1995)") == "seven se7en"
    assert simple("  Toy_Story: 2! ") == "toy story 2"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (answer("  Heat \n (1995) "), "Heat (1995)"),
        ("Sure! " + answer("Heat") + " Enjoy.", "Heat"),
        (answer("None"), None),
        (answer("none."), None),
        (answer(""), None),
        (answer("N/A"), None),
    ],
)
def test_an_answer_is_a_name_or_none(text: str, name: str | None) -> None:
    assert read_name(text, Request([], "", WORDING)) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Heat", "not a name in JSON"),
        ('{"hard_negative_item": "Heat"}', "not a name in JSON"),
        (answer("word " * 21), "more than 20 words"),
        (answer(WORDING.example_answer["hard_negative_item"].upper()), "repeats the example"),
    ],
)
def test_what_is_neither_is_rejected(text: str, reason: str) -> None:
    with pytest.raises(RejectedAnswerError, match=reason):
        read_name(text, Request([], "", WORDING))


def write(
    folder: Path, interactions: Interactions, tiny_model: Path, replies: dict[int, str], n: int = 0
) -> tuple[NamingReport, FakeLanguageModel]:
    """Name hard negatives; a pair whose item has a reply gets it, others get None."""
    titles = [f"Film {chr(65 + item)}{chr(65 + item) * 3}" for item in range(N_ITEMS)]
    replies = {titles[item]: reply for item, reply in replies.items()}
    model = FakeLanguageModel(lambda prompt: replies.get(data_of(prompt)["title"], answer("None")))
    profiles = Profiles(["likes films"] * N_USERS, ["a film"] * N_ITEMS, [], [])
    folder.mkdir(exist_ok=True)
    report = write_names(
        RouteAConfig(pairs=n, min_cosine=None), ProfileConfig(attempts=1),
        synthesis_config().finetune, interactions, profiles, ItemTexts(text_frame(title=titles)),
        folder, 0, fake_writer(model, folder), lambda: load_language(tiny_model), ServerConfig(),
    )  # fmt: skip
    return report, model


REPLIES = {3: answer("film jjjj"), 4: answer("Film Eeee"), 5: answer("Unheard Of"), 6: "no JSON"}


def test_the_report_counts_what_answers_are_worth(
    interactions: Interactions, tiny_model: Path, tmp_path: Path
) -> None:
    report, model = write(tmp_path, interactions, tiny_model, REPLIES)
    train = interactions.train.toarray().astype(bool)
    of = {item: int(train[:, item].sum()) for item in (3, 4, 5, 6)}
    both = int((train[:, 3] & train[:, 9]).sum())
    assert report.pairs == train.sum() == sum(report.answers.values())
    assert report.answers["title"] == of[3] + of[4]
    assert report.answers["nothing"] == of[5]
    assert report.answers["rejected"] == of[6]
    assert report.fallbacks == {"not a name in JSON": of[6]}
    # item 4 was named for itself; item 9 for who likes 3, and some of them like it too
    assert report.interacted == of[4] + both
    assert report.usable == of[3] - both
    assert report.duplicate == 0
    assert f"usable as negatives {report.usable / report.pairs:.1%}" in report.lines()[1]
    assert len(model.asked) == len({json.dumps(prompt) for prompt in model.asked})
    frame = pl.read_parquet(tmp_path / NAMES)
    assert frame["pair"].is_sorted()
    assert set(frame.filter(pl.col("found") == "title")["item"]) == {9, 4}


def test_too_few_names_stop_the_run(
    interactions: Interactions, tiny_model: Path, tmp_path: Path
) -> None:
    replies = dict.fromkeys(range(N_ITEMS // 2), "no JSON")
    with pytest.raises(ModelError, match=r"names .*more than 20%: \d+ not a name in JSON \(as 'no"):
        write(tmp_path, interactions, tiny_model, replies)
    assert not (tmp_path / NAMES).exists()


def test_names_that_come_again_for_a_user_are_duplicates(
    interactions: Interactions, tiny_model: Path, tmp_path: Path
) -> None:
    report, _ = write(tmp_path, interactions, tiny_model, dict.fromkeys((2, 4), answer("Unheard")))
    train = interactions.train.toarray().astype(bool)
    assert report.duplicate == int((train[:, 2] & train[:, 4]).sum()) > 0


def test_names_do_not_depend_on_held_out_interactions(
    interactions: Interactions, tiny_model: Path, tmp_path: Path
) -> None:
    real = interactions
    other = Interactions(real.user_ids, real.item_ids, real.train, real.test[::-1], real.valid * 0)
    tables = []
    for name, data in (("a", real), ("b", other)):
        write(tmp_path / name, data, tiny_model, REPLIES)
        tables.append(pl.read_parquet(tmp_path / name / NAMES))
    assert tables[0].equals(tables[1])


def test_a_sample_of_pairs_is_asked_about(
    interactions: Interactions, tiny_model: Path, tmp_path: Path
) -> None:
    report, _ = write(tmp_path, interactions, tiny_model, {}, n=12)
    assert report.pairs == 12
    assert report.usable == 0
    named = Named.load(tmp_path)
    assert (named.rows == -1).all()
    assert named.find(torch.arange(interactions.train.nnz), named.items).unique().tolist() == [-1]


def test_names_train_as_they_are_and_grounded(
    interactions: Interactions, inputs: SynthesisInputs, tiny_model: Path, tmp_path: Path
) -> None:
    write(tmp_path, interactions, tiny_model, REPLIES)
    users, items = (torch.from_numpy(part).long() for part in interactions.pairs("train"))
    index, unit = torch.arange(len(users)), torch.nn.functional.normalize
    centre = inputs.encoded.items.mean()
    vectors, present = NamedNegatives.as_named(tmp_path, centre).vectors(index)
    assert torch.equal(present, torch.isin(items, torch.tensor([3, 4, 5])))
    torch.testing.assert_close(vectors[present].norm(dim=1), torch.ones(int(present.sum())))
    item_vectors = unit(torch.randn(N_ITEMS, vectors.shape[1]), dim=1)
    vectors, present = NamedNegatives.grounded(tmp_path, item_vectors).vectors(index)
    likes_9 = torch.from_numpy(interactions.train.toarray()[:, 9] > 0)[users]
    assert torch.equal(present, (items == 3) & ~likes_9)
    assert torch.equal(vectors[present], item_vectors[9].expand(int(present.sum()), -1))


def test_named_items_supervise_the_pairs_that_have_one(
    interactions: Interactions, inputs: SynthesisInputs, tiny_model: Path, tmp_path: Path
) -> None:
    write(tmp_path, interactions, tiny_model, REPLIES)
    named = Named.load(tmp_path)
    usable = named.usable()
    pairs = PairSampler(interactions, 0.3, 0, usable)
    assert sorted([*pairs.held_out, *pairs.training]) == usable.tolist()
    config, vectors = SupervisionConfig(strategy="route_a"), torch.randn(N_ITEMS, 4)
    supervision = Supervision(config, inputs.view, vectors, interactions.train, named)
    users, items = pairs.pairs(pairs.training)
    generator = torch.Generator().manual_seed(0)
    assert supervision.targets(users, items, generator).unique().tolist() == [9]
    # others get a random item that their users have not interacted with
    everyone = [torch.from_numpy(part).long() for part in interactions.pairs("train")]
    targets = supervision.targets(*everyone, generator)
    assert not interactions.train.toarray()[everyone[0], targets].any()
    assert len(targets.unique()) > 5
    with pytest.raises(ConfigError, match=r"1 training pairs have a target.*route_a\.pairs"):
        PairSampler(interactions, 0.3, 0, np.array([4]))


def test_a_wording_of_other_keys_is_refused(tmp_path: Path) -> None:
    text = WORDING.model_dump_json().replace("hard_negative_item", "name")
    (tmp_path / "w.yaml").write_text(text)
    with pytest.raises(ConfigError, match="needs hard_negative_item, reasoning"):
        Wording.read("names", tmp_path / "w.yaml")
