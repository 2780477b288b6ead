"""Compiled kernels against torch, and results that do not depend on threads."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.backbones.graph import normalised_adjacency
from hnlmrec.kernels import (
    batch_graph,
    bpr_gradient,
    draw_free,
    pair_scores,
    squared_norms,
    table_scores,
    threads,
    top_columns,
)

MASK = 2**64 - 1


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def plain_scores(left, right, rows, columns):
    return (left[rows][:, None, :] * right[columns]).sum(dim=2)


@pytest.fixture(params=[1, 3])
def parts(request, monkeypatch):
    """Share every kernel among so many threads, however small the work."""
    monkeypatch.setattr(threads, "threads_for", lambda work: request.param)
    return request.param


def gradients(result, *tables):
    weights = torch.linspace(-1, 2, result.numel()).view(result.shape)
    return torch.autograd.grad((result * weights).sum(), tables)


@pytest.mark.parametrize("dim", [1, 5, 64, 70])
def test_pair_scores_and_their_gradients(parts, dim):
    left, right = (torch.randn(n, dim, generator=seeded(n)).requires_grad_() for n in (4, 9))
    rows = torch.tensor([3, 0, 3, 1, 3])
    columns = torch.randint(9, (5, 3), generator=seeded(1))
    ours, plain = (f(left, right, rows, columns) for f in (pair_scores, plain_scores))
    torch.testing.assert_close(ours, plain)
    for a, b in zip(gradients(ours, left, right), gradients(plain, left, right), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dim", [3, 40])
def test_table_scores_are_pair_scores_of_one_table(parts, dim):
    table = torch.randn(12, dim, generator=seeded()).requires_grad_()
    rows = torch.tensor([0, 2, 2, 1])
    columns = torch.randint(7, (4, 6), generator=seeded(1))
    ours = table_scores(table, rows, columns, 5)
    plain = plain_scores(table, table, rows, columns + 5)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(gradients(ours, table), gradients(plain, table))


def test_squared_norms_count_repeats(parts):
    table = torch.randn(6, 33, generator=seeded()).requires_grad_()
    rows = torch.tensor([5, 1, 5, 5, 0])
    ours, plain = squared_norms(table, rows), table[rows].square().sum()
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(gradients(ours, table), gradients(plain, table))


def test_rows_may_be_slices_and_transposes_of_other_tensors(parts):
    whole = torch.randn(8, 20, generator=seeded())
    left, right = whole[::2, :10], whole[:, ::2]
    rows, columns = torch.tensor([3, 1]), torch.tensor([[0, 7], [2, 2]])
    torch.testing.assert_close(
        pair_scores(left, right, rows, columns), plain_scores(left, right, rows, columns)
    )


def test_other_types_take_the_way_of_torch():
    left, right = (torch.randn(3, 4, dtype=torch.float64, generator=seeded(n)) for n in (0, 1))
    rows, columns = torch.tensor([2, 0]), torch.tensor([[1, 1], [0, 2]])
    ours = pair_scores(left, right, rows, columns)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, plain_scores(left, right, rows, columns))
    torch.testing.assert_close(
        table_scores(left, rows, columns - 1, 1), plain_scores(left, left, rows, columns)
    )
    torch.testing.assert_close(squared_norms(left, rows), left[rows].square().sum())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dim", [5, 85])
def test_gradient_of_a_batch_is_a_product_with_its_graph(parts, compiled, dim, monkeypatch):
    if not compiled:
        monkeypatch.setattr("hnlmrec.kernels.batch.on_cpu", lambda *tables: False)
    x, table = torch.randn(2, 12, dim, generator=seeded())
    rows = torch.tensor([0, 2, 2, 4, 2])
    # item 3 twice in a pair, and in several
    columns = torch.tensor([[3, 3], [0, 3], [6, 1], [6, 3], [0, 3]])
    weights = torch.linspace(-1, 1, 10).view(5, 2)
    place = torch.full((12,), -1, dtype=torch.int32)
    dense, times = torch.zeros(12, 12), torch.zeros(12, 1)
    for b, row in enumerate(rows.tolist()):
        times[row] += 1
        for k, column in enumerate((columns[b] + 5).tolist()):
            times[column] += 1
            dense[row, column] += weights[b, k]
            dense[column, row] += weights[b, k]
    for _ in range(2):  # the room must be left as it was found
        made = batch_graph(rows, columns, 5, weights, place)
        assert (place == -1).all()
        touched = made.touched
        assert sorted(touched.tolist()) == [0, 2, 4, 5, 6, 8, 11]
        out = torch.full((12, dim), 7.0)
        made.product(x, out)
        torch.testing.assert_close(out[touched], (dense @ x)[touched])
        assert (out[times[:, 0] == 0] == 7).all()
        total = x.clone()
        squares = made.add_own(total, table, 0.3)
        torch.testing.assert_close(total, x + 0.3 * times * table)
        torch.testing.assert_close(squares, (times * table.square()).sum())
        alone, its_squares = made.own_product(table, 0.3)
        torch.testing.assert_close(alone, (dense @ table + 0.3 * times * table)[touched])
        torch.testing.assert_close(its_squares, squares)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("scale", [0.1, 10.0, 1000.0])
def test_bpr_and_its_gradient(parts, n, scale):
    table = (torch.randn(9, 6, generator=seeded()) * scale).requires_grad_()
    rows, columns = torch.tensor([1, 0, 1]), torch.randint(7, (3, 1 + n), generator=seeded(1))
    scores = plain_scores(table, table, rows, columns + 2).detach().double().requires_grad_()
    plain = torch.nn.functional.softplus(scores[:, 1:] - scores[:, :1]).mean()
    loss, weights = bpr_gradient(table, rows, columns, 2)
    torch.testing.assert_close(loss.double(), plain, atol=1e-6, rtol=1e-5)
    (expected,) = torch.autograd.grad(plain, scores)
    torch.testing.assert_close(weights.double(), expected, atol=1e-6, rtol=1e-5)


def test_bpr_of_very_many_negatives_does_not_overflow():
    table = torch.zeros(3, 4)
    columns = torch.ones(1, 2001, dtype=torch.int64)
    loss, weights = bpr_gradient(table, torch.tensor([0]), columns, 1)
    torch.testing.assert_close(loss, torch.tensor(2.0).log())
    torch.testing.assert_close(weights[0, 1:], torch.full((2000,), 0.5 / 2000))


def graph(density):
    dense = np.random.default_rng(3).random((7, 11)) < density
    return normalised_adjacency(sp.csr_array(dense.astype(np.float32)))


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("dim", [21, 64, 147])
def test_propagation_and_its_gradient(parts, density, layers, dim):
    adjacency = graph(density)
    dense = adjacency.to_dense()
    x = torch.randn(18, dim, generator=seeded()).requires_grad_()
    powers = [torch.linalg.matrix_power(dense, k) @ x for k in range(layers + 1)]
    plain = torch.stack(powers).mean(dim=0)
    ours = adjacency.mean_of_layers(x, layers)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(gradients(ours, x), gradients(plain, x))
    product = adjacency.product(x)
    torch.testing.assert_close(product, dense @ x)
    torch.testing.assert_close(gradients(product, x), gradients(dense @ x, x))


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    adjacency = graph(0.4)
    x = torch.randn(18, 64, generator=seeded()).requires_grad_()
    rows = torch.randint(7, (40,), generator=seeded(1))
    columns = torch.randint(11, (40, 4), generator=seeded(2))

    def results(parts):
        monkeypatch.setattr(threads, "threads_for", lambda work: parts)
        scores = table_scores(adjacency.mean_of_layers(x, 2), rows, columns, 7)
        norms = squared_norms(x, rows)
        return scores, norms, *gradients(scores, x), *gradients(norms, x)

    for one, several in zip(results(1), results(4), strict=True):
        assert torch.equal(one, several)


@given(dim=st.integers(1, 200), parts=st.integers(1, 20), n=st.integers(0, 1000))
def test_parts_cover_everything_once(dim, parts, n):
    for borders, total in ((threads.columns(dim, parts), dim), (threads.even(n, parts), n)):
        assert borders[0] == 0
        assert borders[-1] == total
        assert borders == sorted(borders)
        assert len(borders) - 1 <= parts


def test_a_fault_in_a_thread_is_raised():
    def kernel(start, stop):
        if start:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        threads.run(kernel, [0, 1, 2])


@pytest.mark.parametrize("compiled", [True, False])
@given(data=st.data(), n=st.integers(1, 200), rows=st.integers(1, 4))
def test_top_columns_are_those_of_a_stable_sort(compiled, data, n, rows):
    # few values, so many of them are equal
    values = st.sampled_from([-np.inf, -1.0, 0.0, 0.25, 3.0, np.inf, np.nan])
    seed = data.draw(st.integers(0, 1000))
    pool = np.array(data.draw(st.lists(values, min_size=1, max_size=5)), dtype=np.float32)
    scores = np.random.default_rng(seed).choice(pool, (rows, n))
    k = data.draw(st.integers(1, n))
    on_cpu = threads.on_cpu if compiled else lambda *tables: False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hnlmrec.kernels.selection.on_cpu", on_cpu)
        patch.setattr(threads, "threads_for", lambda work: 2)
        found = top_columns(torch.from_numpy(scores), k).numpy()
    for row, best in zip(np.where(np.isnan(scores), -np.inf, scores), found, strict=True):
        order = [c for c in sorted(range(n), key=lambda c: -row[c]) if row[c] > -np.inf][:k]
        assert best.tolist() == order + [-1] * (k - len(order))


def split_mix(counter):
    """The ``counter``-th number of SplitMix64, in Python's exact integers."""
    z = counter * 0x9E3779B97F4A7C15 & MASK
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def test_draws_are_those_of_exact_integers(parts):
    n_items, n = 50, 7
    histories = [[3, 4, 49], [], sorted(set(range(50)) - {17})]
    indptr = torch.tensor([0, 3, 3, 52])
    before = torch.tensor([i - k for h in histories for k, i in enumerate(h)], dtype=torch.int32)
    users, seed = torch.tensor([2, 0, 1, 0, 1]), 2**62 - 12345
    drawn = draw_free(seed, users, n, indptr, before, n_items)
    for b, user in enumerate(users.tolist()):
        free = sorted(set(range(n_items)) - set(histories[user]))
        for k in range(n):
            place = split_mix(seed + b * n + k) * len(free) >> 64
            assert drawn[b, k] == free[place]
