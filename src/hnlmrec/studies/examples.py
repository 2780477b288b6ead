"""A few users in words: profile, liked items, and the negatives that training sees for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from hnlmrec.config import RunConfig, SemanticConfig
from hnlmrec.context import Context
from hnlmrec.errors import ConfigError
from hnlmrec.evaluation.false_negatives import nearest_uninteracted
from hnlmrec.negatives import Dns, PairBatch, Uninteracted
from hnlmrec.profiles import Profiles
from hnlmrec.stage_names import PROFILE, train_name
from hnlmrec.training import TrainedModel, build_learner

_PAIRS, _PROFILE_LENGTH = 5, 200
_OURS = ("synthesised", "live", "names", "grounded")


@dataclass(frozen=True)
class Example:
    """One user in words; ``marked`` are titles of held-out positives."""

    user_id: str
    profile: str
    writer: str
    liked: list[str]
    synthesised: list[str]
    dns: list[str]
    held_out: set[str]

    def lines(self) -> list[str]:
        """What to print; a held-out positive among the negatives is marked."""
        short = self.profile[:_PROFILE_LENGTH]
        dots = "..." if len(self.profile) > _PROFILE_LENGTH else ""
        return [
            f"user {self.user_id!r}",
            f"  profile ({self.writer}): {short}{dots}",
            f"  liked: {'; '.join(self.liked)}",
            f"  nearest to the synthesised negatives: {self._marked(self.synthesised)}",
            f"  picked by DNS: {self._marked(self.dns)}",
        ]

    def _marked(self, titles: list[str]) -> str:
        return "; ".join(
            f"{t} [FALSE: held-out positive]" if t in self.held_out else t for t in titles
        )


def synthesising_models(config: RunConfig) -> list[str]:
    """Names of the models that train with synthesised negatives."""
    return [
        name
        for name, model in config.models.items()
        if isinstance(model.sampler, SemanticConfig) and model.sampler.source in _OURS
    ]


def pick_users(profiles: Profiles, n: int, seed: int) -> list[int]:
    """Users to show: those whose profile the LLM wrote first, then random ones."""
    order = np.random.default_rng(seed).permutation(len(profiles.users))
    by_llm = [user for user in order if profiles.user_sources[int(user)] == "llm"]
    others = [user for user in order if profiles.user_sources[int(user)] != "llm"]
    return [int(user) for user in [*by_llm, *others][:n]]


@torch.no_grad()
def examples(context: Context, n_users: int) -> list[Example]:
    """Describe a few users of a trained run, with the first model that uses synthesised negatives.

    DNS picks under the scores of that same model, so that the two differ in the sampler alone.

    Raises
    ------
    ConfigError
        When no model of the run uses synthesised negatives.
    """
    names = synthesising_models(context.config)
    if not names:
        raise ConfigError("no model of this run uses synthesised negatives", where="models")
    seed, name = context.config.seeds[0], names[0]
    interactions = context.interactions
    titles = context.item_texts.titles()
    profiles = Profiles.load(context.run.stage(PROFILE))
    trained = TrainedModel.load(context.run.stage(train_name(name, seed)))
    model = context.config.models[name]
    language = context.language_artefacts(model)
    learner = build_learner(model, interactions, seed, language, torch.device("cpu"))
    learner.load_state_dict(trained.state)
    assert learner.semantic is not None
    dns = Dns(Uninteracted(interactions.train), n=1, candidates=8, top=1)
    generator = torch.Generator().manual_seed(seed)
    held_out = interactions.valid + interactions.test
    found = []
    for user in pick_users(profiles, n_users, context.config.seed):
        start, stop = interactions.train.indptr[user : user + 2]
        index = torch.arange(int(start), int(min(stop, start + _PAIRS)))
        items = torch.from_numpy(interactions.train.indices[index].astype(np.int64))
        users = torch.full_like(items, user)
        hard = learner.semantic.adapter(learner.semantic.source.vectors(index)[0])
        nearest = nearest_uninteracted(hard, users.numpy(), trained.view.items, interactions.train)
        picked = dns.sample(PairBatch(users, items, index), trained.view, generator).items
        found.append(
            Example(
                user_id=interactions.user_ids[user],
                profile=profiles.users[user],
                writer=profiles.user_sources[user],
                liked=_distinct(titles[item] for item in items.tolist()),
                synthesised=_distinct(titles[item] for item in nearest[:, 0]),
                dns=_distinct(titles[item] for item in picked[:, 0].tolist()),
                held_out={titles[item] for item in held_out[[user]].indices},
            )
        )
    return found


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
