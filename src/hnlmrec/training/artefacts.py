"""`LanguageArtefacts`: what the training of a model takes from the language stages."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hnlmrec.backbones import Backbone
from hnlmrec.baselines import BaselineSetting, Picks
from hnlmrec.config import ModelConfig
from hnlmrec.errors import ConfigError
from hnlmrec.negatives.semantic import HardNegativeSource


@dataclass(frozen=True)
class LanguageArtefacts:
    """What CF training takes from the language stages; None for what a model does not read.

    Parameters
    ----------
    source
        Gives the synthesised negatives of the training pairs: a store, or the amortized head.
    item_vectors
        Unit text vectors of all items, float32 ``[n_items, width]``, in the same space.
    user_vectors
        Unit text vectors of all users' profiles, float32 ``[n_users, width]``.
    picks
        Favourite and least liked items of users.
    """

    source: HardNegativeSource | None = None
    item_vectors: Tensor | None = None
    user_vectors: Tensor | None = None
    picks: Picks | None = None

    def on(self, device: torch.device) -> LanguageArtefacts:
        """The same with its tensors on a device."""
        return replace(
            self,
            item_vectors=None if self.item_vectors is None else self.item_vectors.to(device),
            user_vectors=None if self.user_vectors is None else self.user_vectors.to(device),
            picks=None if self.picks is None else self.picks.to(device),
        )

    def check(self, config: ModelConfig) -> None:
        """Raise a ConfigError when a model reads what is not here."""
        synthesised = config.source not in (None, "noise")
        semantic = "sampler.name semantic"
        for wanted, found, what, where, command in (
            (synthesised, self.source, "synthesised negatives", semantic, "synthesize"),
            (config.needs_texts, self.item_vectors, "text vectors of items", "model", "encode"),
            (config.needs_profiles, self.user_vectors, "vectors of profiles", "model", "encode"),
            (config.needs_picks, self.picks, "picks", "baseline.name", "pick"),
        ):
            if wanted and found is None:
                raise ConfigError(
                    f"this model reads {what}, and none are given",
                    where=where,
                    mend=f"run `hnlmrec {command}` first",
                )

    def for_baseline(self, backbone: Backbone, generator: torch.Generator) -> BaselineSetting:
        """What a baseline on this backbone is built from."""
        return BaselineSetting(
            n_users=backbone.n_users,
            n_items=backbone.n_items,
            dim=backbone.table.shape[1],
            width=backbone.width,
            generator=generator,
            user_vectors=self.user_vectors,
            item_vectors=self.item_vectors,
            picks=self.picks,
        )
