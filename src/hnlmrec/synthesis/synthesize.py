"""Synthesis: the hard-negative vector of every training pair, into the negative store."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor

from hnlmrec.config import SynthesisConfig
from hnlmrec.disk import write_atomically
from hnlmrec.language.local import LocalLanguageModel
from hnlmrec.synthesis.finetune import SynthesisInputs
from hnlmrec.synthesis.live import LiveNegatives
from hnlmrec.synthesis.model import HardNegativeModel
from hnlmrec.synthesis.states import unit_vectors
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.synthesis.task import Progress


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
        texts = (inputs.user_texts, inputs.item_texts)
        # `restore` replaces the centres
        centres = torch.zeros(2, width)
        model = HardNegativeModel(config, language, texts, inputs.view, centres, seed).eval()
        model.restore(finetuned)
        states = model.pairwise_states
    else:
        states = LiveNegatives.open(finetuned, inputs.view, inputs.interactions).of_pairs
    store = NegativeStore.create(folder, inputs.interactions, width, config.storage)
    all_users, all_items = inputs.interactions.pairs("train")
    todo = store.table.missing()
    for start in range(0, len(todo), config.chunk_pairs):
        rows = todo[start : start + config.chunk_pairs]
        users = torch.from_numpy(all_users[rows]).long()
        items = torch.from_numpy(all_items[rows]).long()
        with torch.inference_mode():
            store.write(rows, states(users, items))
        if progress:
            progress(
                "synthesising negatives",
                len(all_users) - len(todo) + start + len(rows),
                len(all_users),
            )
    tokens = 0 if model is None else model.pairwise_tokens(all_users, all_items)
    report = SynthesisReport(
        pairs=len(all_users),
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


def _distinct_nearest(store: NegativeStore, item_vectors: Tensor, chunk: int) -> int:
    """How many items are the nearest in text to some synthesised negative: few mean collapse."""
    seen = torch.zeros(len(item_vectors), dtype=torch.bool)
    for index in torch.arange(len(store.table)).split(chunk):
        vectors, present = store.vectors(index)
        seen[(vectors[present] @ item_vectors.T).argmax(dim=1)] = True
    return int(seen.sum())
