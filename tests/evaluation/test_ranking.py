import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.evaluation import rank, top_items
from hnlmrec.negatives import EmbeddingView


def csr(dense):
    return sp.csr_array(np.asarray(dense, dtype=np.float32))


def literal_ranking(scores, excluded, k):
    """Sort every allowed item by score, then index; -1 where there are none left."""
    rows = []
    for user, row in enumerate(scores):
        allowed = [item for item in range(len(row)) if not excluded[user][item]]
        best = sorted(allowed, key=lambda item: (-row[item], item))[:k]
        rows.append(best + [-1] * (k - len(best)))
    return rows


def test_ranks_by_the_inner_product():
    view = EmbeddingView(
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 5.0], [3.0, 4.0], [2.0, 6.0]])
    )
    ranking = rank(view, np.array([1, 0]), [], k=2)
    assert ranking.tolist() == [[2, 0], [1, 2]]
    assert ranking.dtype == np.int32


def test_excluded_items_are_not_ranked_and_the_rest_is_nothing():
    view = EmbeddingView(torch.ones(2, 1), torch.tensor([[4.0], [3.0], [2.0], [1.0]]))
    train, valid = csr([[1, 0, 0, 0], [1, 1, 0, 0]]), csr([[0, 0, 1, 0], [0, 0, 1, 1]])
    assert rank(view, np.arange(2), [train, valid], k=3).tolist() == [[1, 3, -1], [-1, -1, -1]]


def test_a_ranking_longer_than_the_catalogue_is_filled_up():
    view = EmbeddingView(torch.ones(1, 1), torch.tensor([[1.0], [2.0]]))
    assert rank(view, np.array([0]), [], k=4).tolist() == [[1, 0, -1, -1]]


@given(
    seed=st.integers(0, 10_000),
    n_users=st.integers(1, 7),
    n_items=st.integers(1, 30),
    k=st.integers(1, 12),
    chunk=st.integers(1, 8),
    n_values=st.integers(1, 6),
)
def test_equal_scores_are_ranked_by_index_whatever_the_chunk(
    seed, n_users, n_items, k, chunk, n_values
):
    rng = np.random.default_rng(seed)
    scores = rng.integers(n_values, size=(n_users, n_items)).astype(np.float32)
    excluded = rng.random((n_users, n_items)) < 0.3
    # one-hot users and items of these scores make the inner products exact
    view = EmbeddingView(torch.eye(n_users), torch.from_numpy(scores.T.copy()))
    ranking = rank(view, np.arange(n_users), [csr(excluded)], k, chunk)
    assert ranking.tolist() == literal_ranking(scores, excluded, k)


def test_needs_no_graph():
    table = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert rank(EmbeddingView(table, table), np.array([0]), [], k=3).shape == (1, 3)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_queries_of_the_same_user_share_its_exclusions(dtype):
    items = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = top_items(queries, items, np.array([0, 0], dtype=dtype), [csr([[1, 0, 0]])], k=2)
    assert found.tolist() == [[2, 1], [1, 2]]
