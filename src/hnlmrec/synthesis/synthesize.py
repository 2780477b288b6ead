"""Synthesis: the hard-negative vector of every training pair, into the negative store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from hnlmrec.config import SynthesisConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.disk import write_atomically
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.synthesis.filling import Filling
from hnlmrec.synthesis.finetune import SynthesisInputs
from hnlmrec.synthesis.live import LiveNegatives
from hnlmrec.synthesis.model import HardNegativeModel
from hnlmrec.synthesis.states import unit_vectors
from hnlmrec.synthesis.store import NEGATIVES, NegativeStore, store_shape, unit
from hnlmrec.synthesis.task import Progress
from hnlmrec.synthesis.vectors import Rows


class SynthesisReport(BaseModel):
    """What the store holds, its error in shares of a vector's length, and tokens it took."""

    pairs: int
    width: int
    storage: str
    error_below: float
    coverage: float
    distinct_nearest_items: int
    items: int
    tokens: int = 0

    def lines(self) -> list[str]:
        """What to print."""
        return [
            f"{self.pairs:,} training pairs, coverage {self.coverage:.1%}, {self.width} numbers "
            f"each; their nearest items are {self.distinct_nearest_items:,} of {self.items:,}",
            f"stored as {self.storage}: off by less than {self.error_below:.2%} of their length",
            f"the language model read {self.tokens:,} tokens",
        ]


def synthesize(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    language: LocalLanguageModel | None,
    finetuned: Path,
    folder: Path,
    seed: int,
    progress: Progress | None = None,
) -> SynthesisReport:
    """Write h(u, i) of every training pair; interrupted, it goes on with the rows that miss.

    Parameters
    ----------
    language
        A fresh model; None in amortized mode, which has no use for it any more.
    finetuned
        Folder that `finetune` wrote.
    folder
        Receives the store and ``report.json``.
    """
    item_vectors = unit_vectors(inputs.encoded.items)
    width = item_vectors.shape[1]
    model = None
    if config.mode == "pairwise":
        assert language is not None
        model = pairwise_model(config, inputs, language, finetuned, width, seed)
        states = model.pairwise_states
    else:
        states = LiveNegatives.open(finetuned, inputs.view, inputs.interactions).of_pairs
    table = negatives(config, inputs.interactions, width, states).fill(folder, progress)
    store = NegativeStore(table)
    tokens = 0 if model is None else model.pairwise_tokens(*inputs.interactions.pairs("train"))
    report = SynthesisReport(
        pairs=len(table),
        width=width,
        storage=config.storage,
        error_below=store.table.error_bound(),
        coverage=store.table.coverage(),
        distinct_nearest_items=_distinct_nearest(store, item_vectors, config.chunk_pairs),
        items=len(item_vectors),
        tokens=tokens,
    )
    write_atomically(folder / "report.json", report.model_dump_json(indent=1).encode())
    return report


def pairwise_model(
    config: SynthesisConfig,
    inputs: SynthesisInputs,
    language: LocalLanguageModel,
    finetuned: Path,
    width: int,
    seed: int,
) -> HardNegativeModel:
    """The fine-tuned model that reads pairs, in evaluation mode."""
    texts = (inputs.user_texts, inputs.item_texts)
    # `restore` replaces the centres
    centres = torch.zeros(2, width)
    model = HardNegativeModel(config, language, texts, inputs.view, centres, seed).eval()
    model.restore(finetuned)
    return model


def negatives(
    config: SynthesisConfig,
    interactions: Interactions,
    width: int,
    states: Callable[[Tensor, Tensor], Tensor],
) -> Filling:
    """The table of a store; ``states`` gives h(u, i) of users and items, ``[B, width]``."""
    users, items = (torch.from_numpy(part) for part in interactions.pairs("train"))

    def compute(rows: Rows) -> Tensor:
        index = torch.from_numpy(rows)
        with torch.inference_mode():
            return unit(states(users[index].long(), items[index].long()))

    shape = store_shape(interactions, width, config.storage)
    return Filling(NEGATIVES, shape, config.chunk_pairs, compute, "synthesising negatives")


def _distinct_nearest(store: NegativeStore, item_vectors: Tensor, chunk: int) -> int:
    """How many items are the nearest in text to some synthesised negative: few mean collapse."""
    seen = torch.zeros(len(item_vectors), dtype=torch.bool)
    for index in torch.arange(len(store.table)).split(chunk):
        vectors, present = store.vectors(index)
        seen[(vectors[present] @ item_vectors.T).argmax(dim=1)] = True
    return int(seen.sum())
