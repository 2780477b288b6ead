"""What a run of any size costs: tokens, FLOPs, bytes and GPU-hours.

Run ``python benchmarks/cost_model.py`` for 1 M users, 100 k items and 100 M interactions with a
language model of 8 B parameters; ``--help`` lists what can be changed. ``cost_check.py`` says how
far it is off.

A token that is read takes 2 FLOPs a parameter, one that is learned from 6: forward, backward, and
a second forward where activations are not kept. (LoRA alone would take 4.) Attention beside the
weights is left out: of texts of a hundred tokens it is a few per cent. Peaks and bandwidth are of
NVIDIA's data sheet of the H100 SXM; what share of them is reached is an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

FORWARD, LEARNING = 2, 6  # FLOPs of a token, a parameter
HEAD_HIDDEN = 256  # of the amortized head
BYTES = {"float16": 2, "int8": 1}


@dataclass(frozen=True, kw_only=True)
class Work:
    """A data set, a language model and how hard negatives are made.

    Parameters
    ----------
    users, items, pairs
        Their numbers; pairs are those of training.
    user_tokens, item_tokens
        Of a profile and of an item's text, with the words around.
    soft_tokens
        In which a CF embedding enters, a user or item.
    parameters, width
        Of the language model, and of its states.
    mode
        As ``synthesis.mode``.
    history
        Whether a user's state is the mean of item states (``synthesis.user_states``).
    shared
        Whether pairwise queries read their user once (models that read from left to right).
    steps, batch_users, pairs_per_user, evaluate_every
        Of fine-tuning.
    storage
        Of the negative store.
    dim
        Of CF embeddings.
    """

    users: int
    items: int
    pairs: int
    user_tokens: float
    item_tokens: float
    soft_tokens: int = 1
    parameters: float
    width: int
    mode: Literal["amortized", "pairwise"] = "amortized"
    history: bool = False
    shared: bool = False
    steps: int = 1000
    batch_users: int = 64
    pairs_per_user: int = 4
    evaluate_every: int = 100
    storage: str = "float16"
    dim: int = 64

    @property
    def user_query(self) -> float:
        """Tokens of a user in a query."""
        return self.user_tokens + self.soft_tokens

    @property
    def item_query(self) -> float:
        """Tokens of an item in a query."""
        return self.item_tokens + self.soft_tokens


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one step: tokens, FLOPs, bytes that it keeps on the disk and bytes that it moves."""

    name: str
    tokens: float = 0
    flops: float = 0
    stored: float = 0
    moved: float = 0


def encoding(work: Work) -> Cost:
    """Untuned vectors of all items."""
    tokens = work.items * work.item_tokens
    stored = work.items * work.width * 2
    return Cost(name="encode items", tokens=tokens, flops=read(work, tokens), stored=stored)


def finetuning(work: Work) -> Cost:
    """LoRA, with a held-out batch before, after and every so many steps.

    Batches are taken for full; items that repeat in one are read once, which makes it less.
    """
    pairs = work.batch_users * work.pairs_per_user
    if work.mode == "pairwise":
        batch = pairs * (work.user_query + work.item_query)
    else:
        users = 0 if work.history else work.batch_users
        batch = users * work.user_query + pairs * work.item_query
    evaluations = 1 + -(-work.steps // work.evaluate_every)
    flops = LEARNING * work.parameters * work.steps * batch + read(work, evaluations * batch)
    return Cost(name="fine-tune", tokens=(work.steps + evaluations) * batch, flops=flops)


def states(work: Work) -> Cost:
    """Tuned states of items and users, which the amortized head reads."""
    users = 0 if work.history else work.users * work.user_query
    tokens = users + work.items * work.item_query
    stored = (work.users + work.items) * work.width * 2
    return Cost(name="tuned states", tokens=tokens, flops=read(work, tokens), stored=stored)


def pairwise(work: Work) -> Cost:
    """One query of the language model a pair."""
    users = work.users if work.shared else work.pairs
    tokens = users * work.user_query + work.pairs * work.item_query
    flops, stored = read(work, tokens), store_bytes(work)
    return Cost(name="synthesize, pairwise", tokens=tokens, flops=flops, stored=stored)


def amortized(work: Work) -> Cost:
    """The head for each pair."""
    towers = 2 * (work.width + work.dim) * HEAD_HIDDEN
    out = 3 * HEAD_HIDDEN * 2 * HEAD_HIDDEN + 2 * HEAD_HIDDEN * work.width
    flops = FORWARD * (towers + out) * work.pairs
    return Cost(name="synthesize, amortized", flops=flops, stored=store_bytes(work))


def store_bytes(work: Work) -> float:
    """The negative store: a row a pair, whether it is there, and of int8 its scale."""
    scale = 4 if work.storage == "int8" else 0
    return work.pairs * (work.width * BYTES[work.storage] + scale + 1)


def language_costs(work: Work) -> list[Cost]:
    """The language stages in their order."""
    last = [pairwise(work)] if work.mode == "pairwise" else [states(work), amortized(work)]
    return [encoding(work), finetuning(work), *last]


def profiling(work: Work, prompt: int, answer: int) -> Cost:
    """A profile by the language model for each user and item."""
    tokens = (work.users + work.items) * (prompt + answer)
    return Cost(name="profiles by the LLM", tokens=tokens, flops=read(work, tokens))


def mf_epoch(work: Work) -> Cost:
    """Two scores and the gradients of three vectors a pair; lazy Adam moves each three times."""
    flops = work.pairs * (2 * 2 * work.dim + 3 * 2 * work.dim)
    moved = work.pairs * 3 * work.dim * 4 * 6
    return Cost(name="MF, an epoch", flops=flops, moved=moved)


def lightgcn_epoch(work: Work, batch: int, layers: int = 2) -> Cost:
    """MF's, and each step propagates over all edges, both ways, forward and backward, with Adam."""
    steps, edges, nodes = -(-work.pairs // batch), 2 * work.pairs, work.users + work.items
    passes = 2 * layers * steps
    pairs = mf_epoch(work)
    gathered = passes * edges * (work.dim * 4 + 8)
    adam = steps * nodes * work.dim * 4 * 7
    return Cost(
        name=f"LightGCN, an epoch of {steps:,} steps",
        flops=pairs.flops + passes * edges * 2 * work.dim,
        moved=pairs.moved + gathered + adam,
    )


def evaluation(work: Work, block: int = 4096) -> Cost:
    """Every user's score of every item; the items' table is read once a block of users."""
    blocks = -(-work.users // block)
    scores = work.users * work.items
    moved = blocks * work.items * work.dim * 4 + 2 * scores * 4
    return Cost(name="evaluate all users", flops=scores * 2 * work.dim, moved=moved)


def hours(cost: Cost, *, peak: float, bandwidth: float) -> float:
    """Hours of a GPU that reaches so many FLOP/s and bytes/s."""
    return max(cost.flops / peak, cost.moved / bandwidth) / 3600


def read(work: Work, tokens: float) -> float:
    """FLOPs of reading tokens."""
    return FORWARD * work.parameters * tokens


def main(
    users: Annotated[int, typer.Option()] = 1_000_000,
    items: Annotated[int, typer.Option()] = 100_000,
    interactions: Annotated[int, typer.Option()] = 100_000_000,
    train: Annotated[float, typer.Option(help="Share of the interactions.")] = 0.8,
    parameters: Annotated[float, typer.Option(help="Of the language model.")] = 8e9,
    width: Annotated[int, typer.Option(help="Of its states.")] = 4096,
    user_tokens: Annotated[int, typer.Option(help="Of a profile.")] = 128,
    item_tokens: Annotated[int, typer.Option(help="Of an item's text.")] = 64,
    storage: Annotated[str, typer.Option(help="float16 or int8.")] = "float16",
    prompt_tokens: Annotated[int, typer.Option(help="Of a question for a profile.")] = 400,
    answer_tokens: Annotated[int, typer.Option(help="Of its answer.")] = 100,
    batch: Annotated[int, typer.Option(help="training.batch_size of LightGCN.")] = 1_000_000,
    peak: Annotated[float, typer.Option(help="FLOP/s of a GPU, dense bfloat16.")] = 989e12,
    mfu: Annotated[float, typer.Option(help="Share of it that is reached.")] = 0.4,
    bandwidth: Annotated[float, typer.Option(help="Bytes/s of its memory.")] = 3.35e12,
    bandwidth_share: Annotated[float, typer.Option(help="Share that is reached.")] = 0.4,
) -> None:
    """Print what a run would cost, by mode."""
    work = Work(
        users=users,
        items=items,
        pairs=round(interactions * train),
        user_tokens=user_tokens,
        item_tokens=item_tokens,
        parameters=parameters,
        width=width,
        storage=storage,
    )
    pairwise_work = replace(work, mode="pairwise")
    sections = {
        "profiles": [profiling(work, prompt_tokens, answer_tokens)],
        "amortized": language_costs(work),
        "pairwise": language_costs(pairwise_work),
        "pairwise, users read once": language_costs(replace(pairwise_work, shared=True)),
        "CF": [mf_epoch(work), lightgcn_epoch(work, batch), evaluation(work)],
    }
    shown = Table(title=f"{users:,} users, {items:,} items, {work.pairs:,} training pairs")
    for name in ("", "tokens", "FLOPs", "on disk, GB", "moved, GB", "GPU-hours"):
        shown.add_column(name, justify="right" if name else "left")
    for section, costs in sections.items():
        shown.add_row(f"[bold]{section}[/bold]")
        for cost in costs:
            spent = hours(cost, peak=peak * mfu, bandwidth=bandwidth * bandwidth_share)
            shown.add_row(
                cost.name,
                f"{cost.tokens:.3g}",
                f"{cost.flops:.2e}",
                f"{cost.stored / 1e9:,.1f}",
                f"{cost.moved / 1e9:,.0f}",
                f"{spent:,.3g}",
            )
        shown.add_section()
    Console(width=110).print(shown)


if __name__ == "__main__":
    typer.run(main)
