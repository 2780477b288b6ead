"""RecBole's side of `peers.py`: its own data loading, trainer and full-sort evaluation."""

from __future__ import annotations

import logging
import statistics
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from peers_protocol import (
    CUTOFFS,
    METRIC_KEYS,
    METRICS,
    USERS_AT_ONCE,
    Job,
    Line,
    Splits,
    epoch_times,
    load_factors,
    save_factors,
    seconds,
    serve,
)

warnings.filterwarnings("ignore")
import recbole  # noqa: E402
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.utils import get_model, get_trainer, init_seed  # noqa: E402

logging.disable(logging.WARNING)
MODELS = {"mf": "BPR", "lightgcn": "LightGCN"}


def start(job: Job, extra: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Build the dataset, its loaders, the model and the trainer as RecBole does."""
    torch.set_num_threads(job.threads)
    settings = {
        "data_path": str(Path(job.folder).resolve()),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": {"inter": ["user_id", "item_id"]},
        "embedding_size": job.dim,
        "train_batch_size": job.batch_size,
        "epochs": job.epochs,
        "seed": job.seed,
        "metrics": list(METRICS),
        "topk": list(CUTOFFS),
        "metric_decimal_place": 8,
        "use_gpu": False,
        "show_progress": False,
    }
    if job.model == "lightgcn":
        settings["n_layers"] = job.layers
    if job.lr is not None:
        settings["learning_rate"] = job.lr
    config = Config(MODELS[job.model], "atomic", config_dict=settings | extra)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train_data, _, test_data = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    return dataset, train_data, test_data, trainer


def rows(dataset: Any, field: str, n: int) -> npt.NDArray[np.int64]:
    """Find RecBole's number of each index; 0, its padding, for what has no interaction."""
    known = dataset.field2token_id[field]
    return np.array([known.get(str(index), 0) for index in range(n)])


def train(job: Job) -> Line:
    """Time RecBole's own epochs and export the embeddings."""
    dataset, train_data, _, trainer = start(job, {})
    times = [seconds(lambda: trainer._train_epoch(train_data, 0)) for _ in range(job.epochs)]
    model = trainer.model
    with torch.no_grad():
        if job.model == "mf":
            users, items = model.user_embedding.weight, model.item_embedding.weight
        else:
            users, items = model.forward()
    n_users, n_items = Splits.load(job.folder).shape
    users, items = (
        users[rows(dataset, "user_id", n_users)],
        items[rows(dataset, "item_id", n_items)],
    )
    save_factors(job.scratch, users.detach(), items.detach())
    lr = f"{trainer.learning_rate:g} (Adam)"
    return epoch_times(times) | {"version": recbole.__version__, "lr": lr}


def evaluate(job: Job, users_at_once: int | None) -> Line:
    """Time ``Trainer.evaluate`` on the test part with given factors in its BPR."""
    n_users, n_items = Splits.load(job.folder).shape
    size = {} if users_at_once is None else {"eval_batch_size": users_at_once * (n_items + 1)}
    dataset, _, test_data, trainer = start(job, size)
    parts = (trainer.model.user_embedding, trainer.model.item_embedding)
    fields = (("user_id", n_users), ("item_id", n_items))
    for part, (field, n), factors in zip(parts, fields, load_factors(job.factors), strict=True):
        part.weight.data[rows(dataset, field, n)] = torch.from_numpy(factors)
    found: Line = {}
    times = [
        seconds(lambda: found.update(trainer.evaluate(test_data, load_best_model=False)))
        for _ in range(job.repeats + 1)
    ][1:]
    return {
        "users_per_second": len(test_data.uid_list) / statistics.median(times),
        "metrics": {key: float(found[key]) for key in METRIC_KEYS},
        "version": recbole.__version__,
    }


if __name__ == "__main__":
    serve(
        {
            "train": train,
            "evaluate default": lambda job: evaluate(job, None),
            "evaluate batched": lambda job: evaluate(job, USERS_AT_ONCE),
        }
    )
