import ir_measures
import numpy as np
import polars as pl
import pytest
import torch
from ir_measures import P, R, Success, nDCG

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ArtifactError, DataError
from hnlmrec.evaluation import Evaluation, evaluate, recall_at
from hnlmrec.negatives import EmbeddingView

TRAIN, VALID, TEST = 0, 1, 2


def interactions(pairs):
    """Three users and five items."""
    users, items, split = np.array(pairs, dtype=np.int32).T
    ids = pl.Series(["u0", "u1", "u2"]), pl.Series(["i0", "i1", "i2", "i3", "i4"])
    return Interactions.from_pairs(*ids, users, items, split)


@pytest.fixture
def view():
    """Every user scores item 0 highest and item 4 lowest."""
    return EmbeddingView(torch.ones(3, 1), torch.tensor([[5.0], [4.0], [3.0], [2.0], [1.0]]))


@pytest.fixture
def data():
    return interactions(
        [(0, 0, TRAIN), (0, 1, VALID), (0, 2, TEST), (1, 1, TRAIN), (1, 4, TEST), (2, 2, VALID)]
    )


def test_test_leaves_out_training_and_validation(view, data):
    frame = evaluate(view, data, "test", [1, 3]).frame
    # user 0 ranks 2, 3, 4; user 1 ranks 0, 2, 3; user 2 has nothing to find
    assert frame["user"].to_list() == [0, 1]
    assert frame["recall@1"].to_list() == [1.0, 0.0]
    assert frame["recall@3"].to_list() == [1.0, 0.0]


def test_validation_leaves_out_training_only(view, data):
    # user 0 ranks 1, 2, ..., although 2 is in the test part; user 2 ranks 0, 1, 2
    frame = evaluate(view, data, "valid", [1, 3]).frame
    assert frame["user"].to_list() == [0, 2]
    assert frame["mrr@3"].to_list() == pytest.approx([1.0, 1 / 3])
    assert frame["recall@1"].to_list() == [1.0, 0.0]


def test_means_and_recall_at(view, data):
    evaluation = evaluate(view, data, "valid", [1, 3])
    assert evaluation.means()["mrr@3"] == pytest.approx(2 / 3)
    assert list(evaluation.means()) == evaluation.metrics
    assert "user" not in evaluation.means()
    assert recall_at(view, data, "valid", 1) == evaluation.means()["recall@1"] == 0.5


def test_chunks_change_nothing(data):
    generator = torch.Generator().manual_seed(3)
    view = EmbeddingView(*(torch.randn(n, 4, generator=generator) for n in (3, 5)))
    whole, parts = (evaluate(view, data, "test", [2], chunk_users=n).frame for n in (3, 1))
    assert whole.equals(parts)


def test_saved_and_loaded(view, data, tmp_path):
    evaluation = evaluate(view, data, "test", [2])
    evaluation.save(tmp_path / "rows.parquet")
    assert Evaluation.load(tmp_path / "rows.parquet").frame.equals(evaluation.frame)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(ArtifactError, match=r"rows\.parquet.*hnlmrec evaluate"):
        Evaluation.load(path)


def test_a_part_without_interactions_is_refused(view):
    data = interactions([(0, 0, TRAIN), (1, 1, TRAIN), (2, 1, VALID)])
    with pytest.raises(DataError, match="no user has an item in the part 'test'"):
        evaluate(view, data, "test", [1])


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("seed", range(4))
def test_all_of_it_against_trec_eval(seed, split):
    """From embeddings and random interactions to metrics, with trec_eval given all scores."""
    rng = np.random.default_rng(seed)
    n_users, n_items, cutoffs = 60, 45, (1, 5, 20)
    density = 0.05 + 0.1 * seed
    users, items = np.nonzero(rng.random((n_users, n_items)) < density)
    part = rng.choice(3, len(users), p=(0.6, 0.2, 0.2)).astype(np.int8)
    ids = (pl.Series([f"u{n}" for n in range(n_users)]), pl.Series(map(str, range(n_items))))
    data = Interactions.from_pairs(*ids, users.astype(np.int32), items.astype(np.int32), part)
    generator = torch.Generator().manual_seed(seed)
    view = EmbeddingView(*(torch.randn(n, 8, generator=generator) for n in (n_users, n_items)))
    rows = evaluate(view, data, split, cutoffs, chunk_users=17).frame.to_dicts()

    known = [data.train] if split == "valid" else [data.train, data.valid]
    hidden = sum(matrix.toarray() for matrix in known) > 0
    scores = (view.users.double() @ view.items.double().T).numpy()
    wanted = data.part(split).toarray() > 0
    qrels = [ir_measures.Qrel(str(u), str(i), 1) for u, i in zip(*np.nonzero(wanted), strict=True)]
    run = [
        ir_measures.ScoredDoc(str(u), str(i), scores[u, i])
        for u, i in zip(*np.nonzero(~hidden), strict=True)
    ]
    named = {"recall": R, "ndcg": nDCG, "hr": Success, "precision": P}
    measures = {measure @ k: f"{name}@{k}" for name, measure in named.items() for k in cutoffs}
    theirs = {
        (int(value.query_id), measures[value.measure]): value.value
        for value in ir_measures.pytrec_eval.iter_calc(list(measures), qrels, run)
    }
    ours = {(row["user"], name): row[name] for row in rows for name in measures.values()}
    assert len(ours) == len(theirs) > 200
    assert ours == pytest.approx(theirs)
