from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from hnlmrec.config import ProfileConfig, ServerConfig
from hnlmrec.data import Interactions, ItemTexts
from hnlmrec.errors import ArtifactError
from hnlmrec.language import Prompt
from hnlmrec.profiles import ProfileReport, Profiles, generate_profiles
from hnlmrec.profiles.wording import Wording
from profile_cases import (
    TITLES,
    FakeLanguageModel,
    data_of,
    fake_writer,
    good_answer,
    make_interactions,
    text_frame,
)

ALL = ProfileConfig(generator="llm", max_fallback_share=1)
SAMPLE = ProfileConfig(llm_sample_users=1, llm_sample_items=2)
NONE = ProfileConfig(llm_sample_users=0, llm_sample_items=0)


@pytest.fixture
def generate(interactions: Interactions, texts: ItemTexts, tmp_path: Path):
    """Generate with the fixtures' data; returns the report and the profiles."""

    def run(
        config: ProfileConfig = ALL,
        language: FakeLanguageModel | None = None,
        folder: Path = tmp_path,
        identity: str = "fake",
        **changes: object,
    ) -> tuple[ProfileReport, Profiles]:
        folder.mkdir(exist_ok=True)
        arguments = {
            "interactions": interactions,
            "texts": texts,
            "reviews": None,
            "seed": 0,
            "writer": lambda: fake_writer(language or FakeLanguageModel(), folder, identity),
            "prices": ServerConfig(),
            **changes,
        }
        report = generate_profiles(config, folder=folder, **arguments)
        return report, Profiles.load(folder)

    return run


def test_templates_need_no_language_model(generate, tmp_path: Path) -> None:
    language = FakeLanguageModel()
    report, profiles = generate(NONE, language)
    assert language.loads == 0
    assert report.users == {"template": 4}
    assert report.items == {"template": 6}
    assert report.usage == {}
    assert profiles.items[0] == "Fargo: Crime, Drama."
    assert not (tmp_path / "answers.sqlite").exists()


def test_the_language_model_writes_every_profile(generate, tmp_path: Path) -> None:
    language = FakeLanguageModel()
    report, profiles = generate(ALL, language)
    # user 3 has no training item: there is nothing to ask about
    assert report.users == {"llm": 3, "template": 1}
    assert report.items == {"llm": 6}
    assert report.fallbacks == {}
    assert report.attempts == {"at once": 9}
    assert report.usage == {
        "asked": 9, "cached": 0, "cut": 0, "failed": 0, "prompt_tokens": 90, "answer_tokens": 45,
    }  # fmt: skip
    assert len(language.asked) == 9
    assert profiles.user_sources == ["llm", "llm", "llm", "template"]
    for title, text in zip(TITLES, profiles.items, strict=True):
        assert title in text
    assert ProfileReport.model_validate_json((tmp_path / "report.json").read_text()) == report


def test_an_encoder_writes_no_sample_and_the_report_says_so(generate) -> None:
    language = FakeLanguageModel(writes=False)
    report, profiles = generate(SAMPLE, language)
    assert not language.asked
    assert set(profiles.user_sources + profiles.item_sources) == {"template"}
    assert any("only encodes" in line for line in report.lines())


def test_a_sample_is_seeded_and_the_rest_are_templates(generate, tmp_path: Path) -> None:
    report, profiles = generate(SAMPLE)
    assert report.items == {"llm": 2, "template": 4}
    assert sum(report.users.values()) == 4
    # the one user chosen has no training item
    assert report.usage["asked"] == 2
    again = generate(SAMPLE, folder=tmp_path / "again")[1]
    assert again == profiles
    chosen = {
        tuple(generate(SAMPLE, seed=seed, folder=tmp_path / str(seed))[1].item_sources)
        for seed in range(6)
    }
    assert len(chosen) > 1


def test_a_sample_beyond_the_catalogue_is_everyone(generate) -> None:
    report, _ = generate(ProfileConfig(llm_sample_users=99, llm_sample_items=99))
    assert report.usage["asked"] == 9


def test_tables_have_the_columns_of_the_contract(generate, tmp_path: Path) -> None:
    generate(ALL)
    for name, rows in (("users", 4), ("items", 6)):
        table = pl.read_parquet(tmp_path / f"{name}.parquet")
        assert table.columns == ["index", "summarization", "reasoning", "source", "reason"]
        assert table["index"].to_list() == list(range(rows))
        assert table["reason"].is_not_null().to_list() == (table["source"] == "fallback").to_list()
        assert table["summarization"].null_count() == 0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda prompt: "I cannot do that.", "not a complete profile in JSON"),
        (lambda prompt: good_answer(prompt)[:-5], "not a complete profile in JSON"),
        (lambda prompt: json.dumps(Wording.read("items").example_answer), "repeats the example"),
        (lambda prompt: "", "not a complete profile in JSON"),
    ],
)
def test_a_bad_answer_falls_back_to_the_template_with_its_reason(
    generate, tmp_path: Path, reply, reason: str
) -> None:
    language = FakeLanguageModel(reply)
    report, profiles = generate(ALL, language)
    assert report.users == {"fallback": 3, "template": 1}
    assert report.items == {"fallback": 6}
    assert report.fallbacks == {reason: 9}
    assert report.attempts == {}
    # at once, to be repaired, asked anew
    assert len(language.asked) == 27
    templates = generate(NONE, folder=tmp_path / "templates")[1]
    assert profiles.items == templates.items
    assert profiles.users == templates.users
    assert f"note: 9 rejected, a template instead: {reason}" in report.lines()


def test_one_bad_answer_leaves_the_others(generate) -> None:
    def reply(prompt: Prompt) -> str:
        return "{" if data_of(prompt).get("title") == "Alien" else good_answer(prompt)

    report, profiles = generate(ALL, FakeLanguageModel(reply))
    assert report.items == {"fallback": 1, "llm": 5}
    assert profiles.item_sources[2] == "fallback"
    assert profiles.items[2] == "Alien: Horror."


class StopsAfter(FakeLanguageModel):
    """Is interrupted when asked for one answer more."""

    def __init__(self, answers: int) -> None:
        super().__init__(self._answer)
        self.left = answers

    def _answer(self, prompt: Prompt) -> str:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return good_answer(prompt)


def test_after_an_interruption_only_the_missing_are_asked(generate, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        generate(ALL, StopsAfter(4))
    language = FakeLanguageModel()
    report, profiles = generate(ALL, language)
    assert report.usage["asked"] == len(language.asked) == 5
    assert report.usage["cached"] == 4
    uninterrupted = generate(ALL, folder=tmp_path / "other")[1]
    assert profiles == uninterrupted
    assert generate(ALL)[0].usage["asked"] == 0


def test_other_settings_ask_anew(generate) -> None:
    generate(ALL)
    assert generate(ALL)[0].usage["asked"] == 0
    assert generate(ALL.model_copy(update={"max_new_tokens": 99}))[0].usage["asked"] == 9
    assert generate(ALL, identity="another model")[0].usage["asked"] == 9


def test_equal_questions_are_asked_once(tmp_path: Path, generate, texts: ItemTexts) -> None:
    twins = ItemTexts(texts.frame.with_columns(title=pl.lit("Heat"), categories=pl.lit("Crime")))
    language = FakeLanguageModel()
    report, _ = generate(ALL, language, texts=twins)
    assert report.items == {"llm": 6}
    assert sum("title" in data_of(prompt) for prompt in language.asked) == 1


def test_nothing_is_asked_about_an_item_without_text(generate, texts: ItemTexts) -> None:
    blank = texts.frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(pl.lit("")).otherwise(pl.all()).name.keep()
    )
    language = FakeLanguageModel()
    report, profiles = generate(ALL, language, texts=ItemTexts(blank))
    assert report.items == {"llm": 5, "template": 1}
    assert profiles.item_sources[3] == "template"
    assert len([prompt for prompt in language.asked if "title" in data_of(prompt)]) == 5


def test_progress_counts_answers(generate) -> None:
    seen = []
    generate(SAMPLE, progress=lambda text, done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_validation_and_test_items_change_nothing(
    generate, interactions: Interactions, tmp_path: Path
) -> None:
    reviews = pl.DataFrame(
        {"user": [0, 1, 0], "item": [0, 3, 2], "review": ["good", "sweet", "held-out secret"]},
        schema={"user": pl.Int32, "item": pl.Int32, "review": pl.String},
    )
    empty = make_interactions([(0, 0, 1)], 4, 6).train
    other = make_interactions([(0, 5, 1), (1, 5, 2), (2, 4, 1), (3, 0, 2)], 4, 6)
    seen = []
    for number, held_out in enumerate(
        (
            interactions,
            replace(interactions, valid=empty, test=empty),
            replace(interactions, valid=other.valid, test=other.test),
        )
    ):
        language = FakeLanguageModel()
        _, profiles = generate(
            ALL, language, tmp_path / str(number), interactions=held_out, reviews=reviews
        )
        templates = generate(NONE, folder=tmp_path / f"t{number}", interactions=held_out)[1]
        seen.append((language.asked, profiles, templates))
    assert seen[0] == seen[1] == seen[2]
    quoted = json.dumps(seen[0][0])
    assert "sweet" in quoted
    # user 0 has item 2 in validation only
    assert "secret" not in quoted


def test_a_report_says_who_wrote_what(generate) -> None:
    report, _ = generate(ALL)
    assert report.lines() == [
        "users: 3 llm, 1 template",
        "items: 6 llm",
        "answers of the language model: 9 (90 tokens of prompts, 45 of answers; 0 cut at the "
        "limit), 0 from the cache",
        "accepted: 9 at once",
    ]


def test_missing_or_damaged_profiles_are_named(generate, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run `hnlmrec profile` again"):
        Profiles.load(tmp_path)
    generate(NONE)
    (tmp_path / "items.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ArtifactError, match="profiles cannot be read"):
        Profiles.load(tmp_path)


def test_what_looks_mixed_up_does_not_depend_on_the_order_of_answers(
    generate, tmp_path: Path
) -> None:
    """An answer fits the question behind it as well as its own, and not the one before it."""
    words = [f"wor{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(41)]
    titles = [f"Film {one} {other}" for one, other in pairwise(words)]
    data = make_interactions([(0, item, 0) for item in range(40)], 1, 40)

    def reply(prompt: Prompt) -> str:
        title = data_of(prompt).get("title", "Film")
        said = f"Film {title.split()[-1]}"
        return json.dumps({"summarization": said, "reasoning": "Says so."})

    def notes(name: str, model: FakeLanguageModel) -> list[str]:
        changes = {"interactions": data, "texts": ItemTexts(text_frame(title=titles))}
        return generate(language=model, folder=tmp_path / name, **changes)[0].notes

    backwards = notes("backwards", FakeLanguageModel(reply))
    assert any("does the server mix answers up?" in note for note in backwards)
    assert notes("forwards", _Forwards(reply)) == backwards


class _Forwards(FakeLanguageModel):
    def generate_json(self, prompts, schema, **limits):
        return reversed(list(super().generate_json(prompts, schema, **limits)))
