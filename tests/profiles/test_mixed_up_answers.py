"""What an answer about another user or item is known by, on real titles."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from hnlmrec.config import DataConfig, ProfileConfig
from hnlmrec.data import Interactions, ItemTexts
from hnlmrec.data.prepare import prepare
from hnlmrec.profiles.fallbacks import mixed_up
from hnlmrec.profiles.generate import ProfileData
from hnlmrec.profiles.prompts import Request
from hnlmrec.profiles.schema import Profile, RejectedAnswerError, check_grounded


@pytest.fixture(scope="module")
def movielens(tmp_path_factory: pytest.TempPathFactory) -> ProfileData:
    if importlib.util.find_spec("recbole") is None:
        pytest.skip("the wheel recbole, which has MovieLens-100k, is not installed")
    folder = tmp_path_factory.mktemp("movielens")
    prepare(DataConfig(), folder)
    return ProfileData(ProfileConfig(), Interactions.load(folder), ItemTexts.load(folder), None, 0)


def refused(request: Request, text: str) -> bool:
    try:
        check_grounded(
            Profile(summarization=text, reasoning=""), request.data, request.wording.example
        )
    except RejectedAnswerError:
        return True
    return False


def pairs_of(
    requests: dict[int, Request], texts: list[str], sources: Iterable[Sequence[int]]
) -> list[tuple[str, str]]:
    """The data of each request and the first text of its sources that is not refused, if any."""
    return [
        (request.data, accepted[0])
        for request, names in zip(requests.values(), sources, strict=True)
        if (accepted := [texts[name] for name in names if not refused(request, texts[name])])
    ]


@pytest.mark.parametrize(("kind", "least", "most"), [("items", 0.5, 0.7), ("users", 0.0, 0.05)])
def test_answers_about_others_share_no_word_with_the_data_or_look_mixed_up(
    movielens: ProfileData, kind: str, least: float, most: float
) -> None:
    """Of those about other films most are refused, about other users hardly one: they share genres.

    But that all are mixed up is seen: too many are refused in spite of repairs, or it is said.
    """
    nobody, n_users = np.array([], dtype=np.int64), movielens.n_users
    everyone = np.arange(n_users if kind == "users" else movielens.n_items)
    requests = movielens.requests(*((everyone, nobody) if kind == "users" else (nobody, everyone)))
    users, items = movielens.templates()
    texts, names = users + items, list(requests)

    own = pairs_of(requests, texts, [[name] for name in names])
    assert len(own) == len(names)
    assert mixed_up(own) is None

    others = np.random.default_rng(0).choice(names, (len(names), 3))
    share = 1 - len(pairs_of(requests, texts, others[:, :1])) / len(names)
    print(f"{kind}: {share:.1%} of answers about others are refused")
    assert least < share < most
    accepted = pairs_of(requests, texts, others)
    stops = 1 - len(accepted) / len(names) > ProfileConfig().max_fallback_share
    assert stops == (kind == "items")
    assert (mixed_up(accepted) is not None) == (kind == "users")
