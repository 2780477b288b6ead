import math

import ir_measures
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import RR, P, R, Success, nDCG

from hnlmrec.evaluation.membership import contains
from hnlmrec.evaluation.metrics import METRICS, hits, per_user


def csr(dense):
    return sp.csr_array(np.asarray(dense, dtype=np.float32))


def literal(ranking, relevant, k):
    """The definitions, one item at a time."""
    top = [item for item in ranking[:k] if item >= 0]
    hits = [item in relevant for item in top]
    ideal = sum(1 / math.log2(rank + 2) for rank in range(min(k, len(relevant))))
    first = [1 / (rank + 1) for rank, hit in enumerate(hits) if hit]
    return {
        "recall": sum(hits) / len(relevant),
        "ndcg": sum(hit / math.log2(rank + 2) for rank, hit in enumerate(hits)) / ideal,
        "hr": float(any(hits)),
        "precision": sum(hits) / k,
        "mrr": first[0] if first else 0.0,
    }


@st.composite
def rankings(draw):
    """Random relevance, and for each user a random permutation that may end in -1."""
    rng = np.random.default_rng(draw(st.integers(0, 100_000)))
    n_users, n_items = draw(st.integers(1, 6)), draw(st.integers(1, 15))
    length = draw(st.integers(1, n_items))
    relevant = rng.random((n_users, n_items)) < draw(st.sampled_from([0.05, 0.3, 1.0]))
    ranking = np.stack([rng.permutation(n_items)[:length] for _ in range(n_users)])
    for row, n_ranked in zip(ranking, rng.integers(0, length + 1, n_users), strict=True):
        row[n_ranked:] = -1
    return ranking.astype(np.int32), relevant


def test_by_hand():
    ranking = np.array([[3, 0, 4, 1], [2, 1, 0, 3]])
    relevant = csr([[1, 1, 1, 0, 0], [0, 0, 0, 0, 1]])
    frame = per_user(ranking, relevant, np.array([0, 1]), [2, 4])
    first, second = frame.rows(named=True)
    # hits of user 0 at ranks 2 and 4, of 3 relevant items; user 1 has none
    ideal3 = 1 + 1 / math.log2(3) + 1 / 2
    assert first == {
        "user": 0,
        "n_relevant": 3,
        "recall@2": pytest.approx(1 / 3),
        "recall@4": pytest.approx(2 / 3),
        "ndcg@2": pytest.approx((1 / math.log2(3)) / (1 + 1 / math.log2(3))),
        "ndcg@4": pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal3),
        "hr@2": 1.0,
        "hr@4": 1.0,
        "precision@2": 0.5,
        "precision@4": 0.5,
        "mrr@2": 0.5,
        "mrr@4": 0.5,
    }
    assert set(second.values()) == {0.0, 1}


@given(rankings())
def test_against_the_definitions(case):
    ranking, relevant = case
    cutoffs = sorted({1, (ranking.shape[1] + 1) // 2, ranking.shape[1]})
    frame = per_user(ranking, csr(relevant), np.arange(len(ranking)), cutoffs)
    assert frame["user"].to_list() == np.flatnonzero(relevant.any(axis=1)).tolist()
    for row in frame.rows(named=True):
        wanted = set(np.flatnonzero(relevant[row["user"]]))
        assert row["n_relevant"] == len(wanted)
        for k in cutoffs:
            for metric, value in literal(ranking[row["user"]], wanted, k).items():
                assert row[f"{metric}@{k}"] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_against_trec_eval(k):
    rng = np.random.default_rng(k)
    relevant = rng.random((40, 30)) < 0.2
    ranking = np.stack([rng.permutation(30)[:10] for _ in range(40)])
    frame = per_user(ranking, csr(relevant), np.arange(40), [k])

    qrels = [
        ir_measures.Qrel(str(u), str(i), 1) for u, i in zip(*np.nonzero(relevant), strict=True)
    ]
    # trec_eval has no cutoff for the reciprocal rank: it is given the first k
    run = [
        ir_measures.ScoredDoc(str(u), str(item), float(-place))
        for u, row in enumerate(ranking)
        for place, item in enumerate(row[:k])
    ]
    measures = {
        R @ k: "recall", nDCG @ k: "ndcg", Success @ k: "hr", P @ k: "precision", RR: "mrr"
    }  # fmt: skip
    theirs = {
        (int(value.query_id), measures[value.measure]): value.value
        for value in ir_measures.pytrec_eval.iter_calc(list(measures), qrels, run)
    }
    ours = {
        (row["user"], metric): row[f"{metric}@{k}"]
        for row in frame.rows(named=True)
        for metric in METRICS
    }
    assert len(ours) > 150
    assert ours == pytest.approx(theirs)


def test_users_may_be_any_selection_in_any_order():
    relevant = csr([[1, 0], [0, 0], [0, 1]])
    frame = per_user(np.array([[1, 0], [0, 1], [0, 1]]), relevant, np.array([2, 1, 0]), [1])
    assert frame["user"].to_list() == [2, 0]
    assert frame["recall@1"].to_list() == [1.0, 1.0]


def test_columns():
    frame = per_user(np.array([[0, 1]]), csr([[1, 0]]), np.array([0]), [1, 2])
    metrics = [f"{metric}@{k}" for metric in METRICS for k in (1, 2)]
    assert frame.columns == ["user", "n_relevant", *metrics]
    assert frame.schema["user"] == pl.Int32
    assert {frame.schema[name] for name in metrics} == {pl.Float64()}


def test_a_cutoff_beyond_the_ranking_is_refused():
    with pytest.raises(ValueError, match="cutoff 5 of rankings of length 2"):
        per_user(np.array([[0, 1]]), csr([[1, 0]]), np.array([0]), [1, 5])


def test_contains_broadcasts_and_holds_nothing_below_zero():
    # the last item of user 0 has the key before the first of user 1: -1 must not find it
    matrix = csr([[0, 0, 1], [1, 0, 0], [0, 0, 0]])
    items = np.array([[-1, 0, 1, 2]])
    assert contains(matrix, np.array([[0], [1], [2]]), items).tolist() == [
        [False, False, False, True],
        [False, True, False, False],
        [False, False, False, False],
    ]


def test_contains_in_an_empty_matrix():
    assert not contains(csr(np.zeros((2, 3))), np.array([0, 1]), np.array([0, 2])).any()


def test_hits_say_where_relevant_items_stand():
    relevant = csr([[1, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]])
    ranking = np.array([[2, 1, 0], [3, -1, -1]])
    found = hits(ranking, relevant, np.array([2, 1]))
    assert found.rows() == [(2, 1, 2), (2, 0, 3), (1, 3, 1)]
