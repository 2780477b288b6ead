"""Measure hnlmrec beside RecBole, implicit and cornac on the same data, split and machine.

The peers live in an environment of their own (Python 3.11)::

    python3 -m venv DIR
    DIR/bin/pip install -r benchmarks/peers-constraints.txt
    python benchmarks/peers.py --peers DIR/bin/python

Every measurement is a process of its own, so that its peak memory is its own, and gives a line of
JSON. Without ``--peers`` hnlmrec is measured alone. Numbers are measured here and asserted nowhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import peers_tables as tables
from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import HnlmrecError
from hnlmrec.evaluation import evaluate
from hnlmrec.negatives import EmbeddingView
from peers_data import SYNTHETIC, describe, provide
from peers_protocol import Job, Line, ask, load_factors, save_factors

SCALES = (10**6, 3 * 10**6, 10**7)
BATCHES_AT_SCALE = 100
PEERS = ("recbole", "implicit", "cornac")


@dataclass(frozen=True)
class Contestant:
    """One row: its name in ``--only`` and in the table, and who measures it."""

    name: str
    worker: str
    task: str = "train"
    model: str = "mf"


TRAINING = (
    Contestant("hnlmrec-mf", "hnlmrec"),
    Contestant("hnlmrec-mf-lazy", "hnlmrec", model="mf lazy"),
    Contestant("hnlmrec-mf-adagrad", "hnlmrec", model="mf adagrad"),
    Contestant("hnlmrec-mf-lazy-dns16", "hnlmrec", model="mf lazy dns16"),
    Contestant("recbole-mf", "recbole"),
    Contestant("implicit-mf", "implicit"),
    Contestant("cornac-mf", "cornac"),
    Contestant("hnlmrec-lightgcn", "hnlmrec", model="lightgcn"),
    Contestant("hnlmrec-lightgcn-dns16", "hnlmrec", model="lightgcn dns16"),
    Contestant("recbole-lightgcn", "recbole", model="lightgcn"),
)
EVALUATION = (
    Contestant("hnlmrec-rank", "hnlmrec", "evaluate"),
    Contestant("recbole-rank", "recbole", "evaluate default"),
    Contestant("recbole-rank-1024-users", "recbole", "evaluate batched"),
    Contestant("numpy-rank", "reference", "evaluate numpy"),
    Contestant("torch-rank", "reference", "evaluate torch"),
)


class Bench:
    """Asks the workers, one after the other, and writes their lines as they come.

    Parameters
    ----------
    options
        The command line.
    root
        An empty folder for everything that is handed over.
    """

    def __init__(self, options: argparse.Namespace, root: Path) -> None:
        self.options = options
        self.root = root
        self.count = 0

    def sections(self) -> Iterator[str]:
        """Measure everything that was asked for, a section of Markdown at a time."""
        options = self.options
        yield f"{tables.environment(options.threads)} {tables.memory(self.triad())}"
        for name in options.data:
            folder = self.root / name.replace(":", "-")
            try:
                interactions = provide(name, folder, options.seed)
            except HnlmrecError as error:
                yield f"## {name}\n\nSkipped: {error}"
                continue
            yield f"## {name}\n\n{describe(interactions)}"
            if trained := self.train(name, folder, interactions):
                yield f"### Training\n\n{tables.training(trained)}"
            if ranked := self.rank(name, folder, interactions):
                yield f"### Full ranking\n\n{tables.evaluation(ranked)}"
        if options.scale:
            yield f"## Scale\n\n{tables.scale(self.scale())}"

    def triad(self) -> Line:
        """Measure memory."""
        return self._measure("", Contestant("triad", "reference", "triad"), folder="")

    def train(self, data: str, folder: Path, interactions: Interactions) -> list[Line]:
        """Train each contestant and evaluate its factors."""
        lines = []
        for contestant in self._chosen(TRAINING):
            line = self._measure(
                data, contestant, folder=str(folder), epochs=self.options.epochs, lr=self.options.lr
            )
            if "error" not in line:
                factors = map(torch.from_numpy, load_factors(line["factors"]))
                line["recall@20"] = evaluate(
                    EmbeddingView(*factors), interactions, "test", [20]
                ).means()["recall@20"]
            lines.append(line)
        return lines

    def rank(self, data: str, folder: Path, interactions: Interactions) -> list[Line]:
        """Rank with the same random factors in each contestant's way."""
        chosen = self._chosen(EVALUATION)
        if not chosen:
            return []
        rng = np.random.default_rng(self.options.seed)
        factors = folder / "random"
        factors.mkdir()
        sizes = (interactions.n_users, interactions.n_items)
        save_factors(str(factors), *(rng.standard_normal((n, 64), np.float32) for n in sizes))
        return [
            self._measure(data, contestant, folder=str(folder), factors=str(factors))
            for contestant in chosen
        ]

    def scale(self) -> list[Line]:
        """Time a few steps of hnlmrec on ever larger synthetic sets."""
        lines = []
        for n in map(int, self.options.sizes):
            data = f"{SYNTHETIC}{n}"
            folder = self.root / f"scale-{n}"
            provide(data, folder, self.options.seed)
            for model in ("mf", "mf lazy", "mf adagrad", "lightgcn"):
                line = self._measure(
                    data,
                    Contestant(f"hnlmrec-{model.replace(' ', '-')}", "hnlmrec", "scale", model),
                    folder=str(folder),
                    batch_size=n // BATCHES_AT_SCALE,
                    steps=self.options.steps,
                )
                lines.append(line | {"interactions": n})
        return lines

    def _chosen(self, contestants: Sequence[Contestant]) -> list[Contestant]:
        only = tuple(self.options.only) or ("",)
        return [
            contestant
            for contestant in contestants
            if contestant.name.startswith(only)
            and (self.options.peers or contestant.worker not in PEERS)
        ]

    def _measure(self, data: str, contestant: Contestant, **settings: object) -> Line:
        options = self.options
        python = options.peers if contestant.worker in PEERS else sys.executable
        scratch = str(self.root / f"job-{self.count}")
        job = Job(
            contestant.task,
            scratch=scratch,
            model=contestant.model,
            threads=options.threads,
            seed=options.seed,
            repeats=options.repeats,
            **settings,
        )
        who = {"data": data, "name": contestant.name, "model": contestant.model}
        line = who | {"task": contestant.task} | ask(python, f"peers_{contestant.worker}.py", job)
        print(f"{data} {contestant.name}: {line.get('error', 'done')}", file=sys.stderr)
        self.count += 1
        if options.output:
            with Path(f"{options.output}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return line | {"factors": scratch}


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [contestant.name for contestant in (*TRAINING, *EVALUATION)]
    add = parser.add_argument
    add("--peers", metavar="PYTHON", help="interpreter of the peers' environment")
    add("--data", nargs="*", default=["movielens-100k", "toys"], metavar="NAME")
    add("--only", nargs="+", default=[], metavar="NAME", help=f"starts of {', '.join(names)}")
    add("--epochs", type=int, default=20)
    add("--lr", type=float, help="learning rate of all; by default each library's own")
    add("--threads", type=int, default=2)
    add("--repeats", type=int, default=3, help="times that full ranking is timed, after one")
    add("--seed", type=int, default=0)
    add("--scale", action="store_true", help="hnlmrec on synthetic sets of --sizes as well")
    add("--sizes", nargs="+", type=float, default=SCALES, metavar="N")
    add("--steps", type=int, default=5, help="batches timed for --scale")
    add("--output", type=Path, metavar="FILE", help="FILE gets the tables, FILE.jsonl the lines")
    return parser.parse_args()


def main() -> None:
    """Measure and print; write when asked to, each part as soon as it is there."""
    chosen = options()
    if chosen.output:
        for path in (chosen.output, Path(f"{chosen.output}.jsonl")):
            path.write_text("", encoding="utf-8")
    with tempfile.TemporaryDirectory() as root:
        for section in Bench(chosen, Path(root)).sections():
            print(section, end="\n\n", flush=True)
            if chosen.output:
                with chosen.output.open("a", encoding="utf-8") as file:
                    file.write(section + "\n\n")


if __name__ == "__main__":
    main()
