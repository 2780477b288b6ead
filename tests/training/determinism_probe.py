"""Trains some models with so many threads and prints what came of it; a process of its own."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import torch

from hnlmrec.config import ModelConfig
from hnlmrec.data.interactions import Interactions
from hnlmrec.evaluation import evaluate
from hnlmrec.kernels import threads
from hnlmrec.process import set_up_process
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.training import LanguageArtefacts, TrainedModel, train

N_USERS, N_ITEMS, N_PAIRS, WIDTH = 1500, 1000, 30_000, 32
_SEMANTIC = {"name": "semantic", "base": {"name": "dns"}}
MODELS = {
    "lightgcn": {"sampler": {"name": "dns"}},
    "mf": {"backbone": {"name": "mf"}, "sampler": {"name": "dns"}},
    "mf-lazy": {"backbone": {"name": "mf"}, "training": {"optimizer": "lazy_adam"}},
    "mf-adagrad": {"backbone": {"name": "mf"}, "training": {"optimizer": "adagrad", "lr": 0.1}},
    "srns": {"sampler": {"name": "srns"}},
    "ahns": {"sampler": {"name": "ahns"}},
    "popularity": {"sampler": {"name": "popularity"}, "loss": {"name": "hinge"}},
    "hnlmrec": {"sampler": _SEMANTIC, "alignment": {"weight": 0.1}},
    "simgcl": {"backbone": {"name": "simgcl"}},
}


def interactions() -> Interactions:
    """Enough pairs that tables are divided among threads."""
    random = np.random.default_rng(0)
    pairs = np.unique(random.integers(N_USERS * N_ITEMS, size=N_PAIRS))
    users, items = (part.astype(np.int32) for part in np.divmod(pairs, N_ITEMS))
    split = random.choice(3, len(pairs), p=(0.8, 0.1, 0.1)).astype(np.int8)
    ids = [pl.Series([str(n) for n in range(most)]) for most in (N_USERS, N_ITEMS)]
    return Interactions.from_pairs(*ids, users, items, split)


def language(data: Interactions, folder: Path) -> LanguageArtefacts:
    """Random vectors in the place of synthesised negatives and of texts."""
    generator = torch.Generator().manual_seed(0)
    store = NegativeStore.create(folder, data, WIDTH)
    n_pairs = data.train.nnz
    store.write(np.arange(n_pairs), torch.randn(n_pairs, WIDTH, generator=generator))
    vectors = torch.randn(data.n_items, WIDTH, generator=generator)
    return LanguageArtefacts(store, torch.nn.functional.normalize(vectors, dim=1))


def main(n_threads: int) -> None:
    """Print a JSON object: of each model a hash of its parameters, and its metrics."""
    set_up_process(n_threads)
    # a busy machine might find that a second thread is not worth while, and none would be tried
    threads.worth_a_thread = lambda: 1.0  # type: ignore[assignment]
    data, found = interactions(), {}
    with tempfile.TemporaryDirectory() as temporary:
        artefacts = language(data, Path(temporary) / "store")
        for name, changes in MODELS.items():
            training = {"epochs": 2, "evaluate_every": 1, **changes.get("training", {})}
            config = ModelConfig.model_validate({**changes, "training": training})
            folder = Path(temporary) / name
            folder.mkdir()
            train(config, data, 0, artefacts, folder)
            metrics = evaluate(TrainedModel.load(folder).view, data, "test", (10, 20)).means()
            parameters = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
            found[name] = {"parameters": parameters, "metrics": metrics}
    # told here, so that the test knows that it tried what it says
    most = threads.threads_for(10**9)
    print(json.dumps({"threads": most, "models": found}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
