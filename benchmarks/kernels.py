"""Time the kernels that training and evaluation stand on, each beside a plain reference.

Run ``python benchmarks/kernels.py``; ``--help`` lists the sizes. Numbers are measured here and
asserted nowhere: read the ratios, since times change with the machine and what else runs on it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn import functional

from hnlmrec.backbones.graph import normalised_adjacency
from hnlmrec.data.interactions import to_csr
from hnlmrec.evaluation import rank
from hnlmrec.kernels import table_scores
from hnlmrec.losses import info_nce
from hnlmrec.measure import Meter
from hnlmrec.negatives import EmbeddingView, Uninteracted

K = 20


@dataclass(frozen=True)
class Result:
    """One timed kernel: ``work`` units done in ``seconds``, at ``peak_mib`` of the process."""

    kernel: str
    seconds: float
    work: float
    unit: str
    peak_mib: float


def power_law(n_users: int, n_items: int, n_draws: int, rng: np.random.Generator) -> sp.csr_array:
    """Interactions with few popular items and few busy users; repeated draws count once."""
    busy = rng.permutation(np.arange(1, n_users + 1) ** -0.5)
    popular = rng.permutation(np.arange(1, n_items + 1) ** -0.8)
    users = rng.choice(n_users, n_draws, p=busy / busy.sum()).astype(np.int32)
    items = rng.choice(n_items, n_draws, p=popular / popular.sum()).astype(np.int32)
    return to_csr(users, items, (n_users, n_items))


def timed(kernel: str, work: float, unit: str, run: Callable[[], object]) -> Result:
    """Take the median of the runs that fit into about a second, after one to warm up."""
    meter = Meter()
    run()
    seconds: list[float] = []
    while sum(seconds) < 1 or len(seconds) < 3:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return Result(kernel, statistics.median(seconds), work, unit, meter.peak_memory_mib())


def bandwidth() -> list[Result]:
    """Measure memory as STREAM's triad does: ``a = b + s * c`` on arrays far beyond the caches."""
    a, b, c = (torch.ones(2**25) for _ in range(3))
    triad = timed("triad", 3 * a.nbytes / 1e9, "GB/s", lambda: torch.add(b, c, alpha=2, out=a))
    return [triad]


def propagation(train: sp.csr_array, dim: int, generator: torch.Generator) -> list[Result]:
    """One layer of LightGCN: a sparse graph times dense embeddings."""
    ours = normalised_adjacency(train)
    shape = (len(ours.indptr) - 1,) * 2
    csr = torch.sparse_csr_tensor(ours.indptr, ours.indices, ours.values, shape)
    coo = csr.to_sparse_coo().coalesce()
    arrays = (part.numpy() for part in (ours.values, ours.indices, ours.indptr))
    scipy_csr = sp.csr_array(tuple(arrays), shape=shape)
    x = torch.randn(shape[1], dim, generator=generator)
    x_numpy = x.numpy()
    # values and indices once, a row of x for each edge, the result once: no reuse in caches
    gigabytes = (8 * len(ours.values) + 4 * dim * len(ours.values) + x.nbytes) / 1e9
    return [
        timed("graph @ dense (ours)", gigabytes, "GB/s", lambda: ours.add_product(x, x)),
        timed("torch CSR @ dense", gigabytes, "GB/s", lambda: torch.addmm(x, csr, x)),
        timed("scipy CSR @ dense", gigabytes, "GB/s", lambda: scipy_csr @ x_numpy),
        timed("torch COO @ dense", gigabytes, "GB/s", lambda: torch.sparse.mm(coo, x)),
    ]


def scoring(
    train: sp.csr_array, dim: int, generator: torch.Generator
) -> tuple[list[Result], list[Result]]:
    """Scores of a batch's positives and 16 negatives each, and their gradient."""
    n_users, n_items = train.shape
    table = torch.randn(n_users + n_items, dim, generator=generator).requires_grad_()
    rows = torch.randint(n_users, (8192,), generator=generator)
    columns = torch.randint(n_items, (8192, 17), generator=generator)

    def compiled() -> torch.Tensor:
        return table_scores(table, rows, columns, n_users)

    def gathered() -> torch.Tensor:
        items = table.index_select(0, columns.flatten() + n_users).view(*columns.shape, dim)
        return torch.einsum("bd,bkd->bk", table.index_select(0, rows), items)

    # a row of the table for each score; its gradient reads two rows and reads and writes two sums
    gigabytes = 4 * dim * columns.numel() / 1e9
    with torch.no_grad():
        forward = [
            timed("pair scores (ours)", gigabytes, "GB/s", compiled),
            timed("torch gather, einsum", gigabytes, "GB/s", gathered),
        ]
    backward = [
        timed("  and gradient (ours)", 7 * gigabytes, "GB/s", lambda: compiled().sum().backward()),
        timed("  torch autograd", 7 * gigabytes, "GB/s", lambda: gathered().sum().backward()),
    ]
    return forward, backward


def contrast(dim: int, generator: torch.Generator) -> list[Result]:
    """InfoNCE between two views of 2,048 nodes, and its gradient."""
    a, b = (torch.randn(2048, dim, generator=generator).requires_grad_() for _ in range(2))
    targets = torch.arange(len(a))

    def whole() -> torch.Tensor:
        cosines = functional.normalize(a, dim=1) @ functional.normalize(b, dim=1).T
        return functional.cross_entropy(cosines / 0.2, targets)

    millions = len(a) * len(b) / 1e6
    return [
        timed("InfoNCE (ours)", millions, "Mcos/s", lambda: info_nce(a, b, 0.2).backward()),
        timed("torch cross entropy", millions, "Mcos/s", lambda: whole().backward()),
    ]


def reject(
    keys: np.ndarray, users: np.ndarray, n_items: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw an un-interacted item for each user: draw any, and again where it is a positive."""
    items = rng.integers(n_items, size=len(users))
    open_ = np.arange(len(users))
    while len(open_):
        wanted = users[open_] * n_items + items[open_]
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        open_ = open_[keys[place] == wanted]
        items[open_] = rng.integers(n_items, size=len(open_))
    return items


def sampling(
    train: sp.csr_array, generator: torch.Generator, rng: np.random.Generator
) -> list[Result]:
    """Eight uniform negatives for every training pair of a shuffled batch."""
    pool, n_items = Uninteracted(train), train.shape[1]
    pair_users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    keys = pair_users * n_items + train.indices
    users = rng.choice(pair_users, 8192)
    batch, repeated = torch.from_numpy(users), np.repeat(users, 8)
    millions = len(repeated) / 1e6
    return [
        timed("complement (ours)", millions, "Mneg/s", lambda: pool.sample(batch, 8, generator)),
        timed("numpy rejection", millions, "Mneg/s", lambda: reject(keys, repeated, n_items, rng)),
    ]


def dense_ranking(users: np.ndarray, items: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Rank with one dense matrix of scores."""
    scores = np.where(known, -np.inf, users @ items.T)
    top = np.argpartition(-scores, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1)
    return np.take_along_axis(top, order, axis=1)


def ranking(train: sp.csr_array, dim: int, generator: torch.Generator) -> list[Result]:
    """The best items out of the whole catalogue, for up to 4,096 users."""
    view = EmbeddingView(*(torch.randn(n, dim, generator=generator) for n in train.shape))
    users = np.arange(min(4096, train.shape[0]))
    ours = timed(
        "chunked top-k (ours)", len(users), "users/s", lambda: rank(view, users, [train], K)
    )
    known = train[users].toarray() > 0
    dense = view.users.numpy()[users], view.items.numpy(), known
    return [ours, timed("dense numpy", len(users), "users/s", lambda: dense_ranking(*dense))]


def main(
    users: Annotated[int, typer.Option(help="users of the synthetic set")] = 20_000,
    items: Annotated[int, typer.Option(help="items of the synthetic set")] = 10_000,
    draws: Annotated[int, typer.Option(help="interactions drawn, before duplicates go")] = 300_000,
    dim: Annotated[int, typer.Option(help="size of an embedding")] = 64,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
    seed: Annotated[int, typer.Option(help="seed of everything random")] = 0,
) -> None:
    """Print a table of times, throughputs, times relative to ours, and peak memory."""
    torch.set_num_threads(threads)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    train = power_law(users, items, draws, rng)
    groups = [
        bandwidth(),
        propagation(train, dim, generator),
        *scoring(train, dim, generator),
        contrast(dim, generator),
        sampling(train, generator, rng),
        ranking(train, dim, generator),
    ]
    sizes = f"{users:,} users, {items:,} items, {train.nnz:,} pairs, {dim} dimensions"
    table = Table("kernel", title=f"{sizes}, torch threads: {threads}")
    triad = groups[0][0].work / groups[0][0].seconds
    for name in ("ms", "throughput", "of the triad", "times ours", "peak MiB"):
        table.add_column(name, justify="right")
    for group in groups:
        for result in group:
            table.add_row(
                result.kernel,
                f"{result.seconds * 1e3:.2f}",
                f"{result.work / result.seconds:,.2f} {result.unit}",
                f"{result.work / result.seconds / triad:.2f}" if result.unit == "GB/s" else "",
                f"{result.seconds / group[0].seconds:.2f}",
                f"{result.peak_mib:,.0f}",
            )
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
