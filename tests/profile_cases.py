"""Data and a language model for the tests of profiles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from hnlmrec.data import Interactions
from hnlmrec.language import Answer, Prompt
from hnlmrec.language.cache import AnswerCache
from hnlmrec.language.writer import Writer

TITLES = ["Fargo", "Heat", "Alien", "Babe", "Seven", "Emma"]
CATEGORIES = ["Crime, Drama", "Crime", "Horror", "Comedy", "Crime, Thriller", "Drama, Romance"]


def text_frame(**columns: list[str]) -> pl.DataFrame:
    """Item texts with what is not given left empty."""
    n = len(next(iter(columns.values())))
    fields = ("title", "brand", "categories", "description")
    return pl.DataFrame({field: columns.get(field, [""] * n) for field in fields})


def make_interactions(
    pairs: list[tuple[int, int, int]], n_users: int, n_items: int
) -> Interactions:
    """From (user, item, split) triples; splits are 0, 1, 2."""
    users, items, split = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
    ids = [pl.Series([str(index) for index in range(n)]) for n in (n_users, n_items)]
    return Interactions.from_pairs(ids[0], ids[1], users, items, split)


def data_of(prompt: Prompt) -> dict[str, Any]:
    """What a prompt quotes last: the data, not the example."""
    quotes = [message["content"] for message in prompt if "<data>" in message["content"]]
    block = quotes[-1].split("<data>")[-1].split("</data>")[0]
    data: dict[str, Any] = json.loads(block)
    return data


def good_answer(prompt: Prompt) -> str:
    """An answer that uses the words of its data."""
    return json.dumps({"summarization": f"Liked for {data_of(prompt)}", "reasoning": "Says so."})


class FakeLanguageModel:
    """Answers by a function, the last question first, and remembers what it was asked."""

    width = 2

    def __init__(
        self, reply: Callable[[Prompt], str] = good_answer, *, writes: bool = True
    ) -> None:
        self.reply = reply
        self.writes = writes
        self.asked: list[Prompt] = []
        self.loads = 0

    def __call__(self) -> FakeLanguageModel:
        self.loads += 1
        return self

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        raise AssertionError("profiles are not encoded here")

    def generate_json(
        self,
        prompts: Sequence[Prompt],
        schema: dict[str, Any],
        *,
        max_new_tokens: int,
        batch_size: int,
    ) -> Iterator[tuple[int, Answer]]:
        for place in reversed(range(len(prompts))):
            self.asked.append(prompts[place])
            yield place, Answer(self.reply(prompts[place]), 10, 5)


def fake_writer(model: FakeLanguageModel, folder: Path, identity: str = "fake") -> Writer:
    """A writer of the fake, with a cache in a folder."""
    return Writer(identity, model, AnswerCache(folder / "answers.sqlite"))
