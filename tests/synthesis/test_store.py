from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ArtifactError
from hnlmrec.kernels import gather
from hnlmrec.synthesis.controls import Noise, Shuffled
from hnlmrec.synthesis.store import NegativeStore, verify
from hnlmrec.synthesis.vectors import Shape, VectorTable
from synthetic import interactions as small_interactions


def test_round_trip_in_half_precision_and_what_is_missing(
    tmp_path: Path, interactions: Interactions
) -> None:
    vectors = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    rows = np.array([4, 0, 9])
    NegativeStore.create(tmp_path, interactions, 6).write(rows, vectors)
    store = NegativeStore.open(tmp_path, interactions)
    found, present = store.vectors(torch.tensor([0, 4, 5]))
    unit = torch.nn.functional.normalize(vectors, dim=1)
    torch.testing.assert_close(found[:2], unit[[1, 0]], atol=5e-4, rtol=0)
    assert present.tolist() == [True, True, False]
    assert store.table.coverage() == pytest.approx(3 / interactions.train.nnz)
    assert set(store.table.missing()) == set(range(interactions.train.nnz)) - {0, 4, 9}


def test_a_store_of_other_pairs_is_refused(tmp_path: Path, interactions: Interactions) -> None:
    NegativeStore.create(tmp_path, interactions, 6)
    with pytest.raises(ArtifactError, match="other data"):
        NegativeStore.open(tmp_path, small_interactions(seed=3))


def test_an_absent_and_a_cut_store_are_said(tmp_path: Path, interactions: Interactions) -> None:
    with pytest.raises(ArtifactError, match="no table of vectors"):
        NegativeStore.open(tmp_path, interactions)
    NegativeStore.create(tmp_path, interactions, 6)
    with (tmp_path / "negatives-00000.float16").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(ArtifactError, match="cut short: 100 of"):
        NegativeStore.open(tmp_path, interactions)


def test_creating_again_keeps_rows_of_the_same_shape_only(tmp_path: Path) -> None:
    path = tmp_path / "t"
    VectorTable.create(path, Shape(4, 2)).write(np.array([1]), torch.ones(1, 2))
    assert VectorTable.create(path, Shape(4, 2)).missing().tolist() == [0, 2, 3]
    assert VectorTable.create(path, Shape(4, 3)).missing().tolist() == [0, 1, 2, 3]


def test_mean_is_that_of_all_rows(tmp_path: Path) -> None:
    table = VectorTable.create(tmp_path / "t", Shape(5, 3))
    values = torch.arange(15.0).reshape(5, 3)
    table.write(np.arange(5), values)
    assert torch.equal(table.mean(), values.mean(dim=0))
    assert torch.equal(table.read_all(), values)


def test_noise_is_the_same_in_every_epoch_and_of_unit_length() -> None:
    noise = Noise(6, torch.Generator().manual_seed(0))
    index = torch.tensor([3, 70_000, 3])
    once, present = noise.vectors(index)
    assert torch.equal(once, noise.vectors(index)[0])
    assert torch.equal(once[0], once[2])
    assert not torch.equal(once[0], once[1])
    torch.testing.assert_close(once.norm(dim=1), torch.ones(3))
    assert present.all()


def test_shuffled_gives_each_pair_the_negative_of_another(
    tmp_path: Path, interactions: Interactions
) -> None:
    n = interactions.train.nnz
    store = NegativeStore.create(tmp_path, interactions, 4)
    store.write(np.arange(n), torch.randn(n, 4, generator=torch.Generator().manual_seed(0)))
    shuffled = Shuffled(store, n, torch.Generator().manual_seed(0))
    index = torch.arange(n)
    own, other = store.vectors(index)[0], shuffled.vectors(index)[0]
    assert (own == other).all(dim=1).float().mean() < 0.1
    assert sorted(map(tuple, own.tolist())) == sorted(map(tuple, other.tolist()))


@pytest.mark.parametrize("storage", ["float16", "int8"])
def test_rows_of_all_shards_come_back_within_the_stated_error(storage, tmp_path: Path) -> None:
    shape = Shape(23, 10, "mine", storage, shard_rows=5)
    vectors = torch.nn.functional.normalize(
        torch.randn(23, 10, generator=torch.Generator().manual_seed(0)), dim=1
    )
    vectors[7] = torch.nn.functional.one_hot(torch.tensor(3), 10)
    order = np.random.default_rng(0).permutation(23)
    for rows in np.array_split(order[:-1], 4):
        VectorTable.create(tmp_path / "t", shape).write(rows, vectors[rows])
    table = VectorTable.open(tmp_path / "t", note="mine")
    files = sorted(file.name for file in tmp_path.glob("t-*"))
    assert files == [f"t-{number:05}.{storage}" for number in range(5)]
    asked = np.random.default_rng(1).integers(0, 23, 60)
    found, present = table.read(asked)
    assert present.tolist() == [row != order[-1] for row in asked]
    errors = (found - vectors[asked]).norm(dim=1)[present]
    assert 0 < errors.max() <= table.error_bound() < {"float16": 0.001, "int8": 0.02}[storage]
    assert table.read_all()[order[-1]].abs().sum() == 0


def test_packed_numbers_are_read_like_numpy_reads_them(tmp_path: Path) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    out = np.empty((1, len(halves)), dtype=np.float32)
    one = np.zeros(1, dtype=np.int64)
    gather(halves[None], None, one, one, out)
    assert np.array_equal(out[0], halves.astype(np.float32))
    small = np.arange(-128, 128).astype(np.int8)
    out = np.empty((1, 256), dtype=np.float32)
    gather(small[None], np.array([0.5], dtype=np.float32), one, one, out)
    assert np.array_equal(out[0], small / 2)


def test_a_row_of_zeros_is_a_row_of_zeros_in_int8(tmp_path: Path) -> None:
    table = VectorTable.create(tmp_path / "t", Shape(2, 3, storage="int8"))
    table.write(np.array([1]), torch.zeros(1, 3))
    assert table.read_all().abs().sum() == 0


def test_verify_counts_rows_that_are_no_unit_vectors(
    tmp_path: Path, interactions: Interactions
) -> None:
    n = interactions.train.nnz
    store = NegativeStore.create(tmp_path, interactions, 4)
    store.write(np.arange(n - 1), torch.randn(n - 1, 4, generator=torch.Generator().manual_seed(0)))
    (line,) = verify(tmp_path, interactions)
    assert f"{n} rows of 4 float16 in 1 shards, coverage {(n - 1) / n:.2%}" in line
    store.table.write(np.array([2, 5]), torch.tensor([[9.0, 0, 0, 0], [torch.nan, 0, 0, 0]]))
    with pytest.raises(ArtifactError, match=f"2 of {n} vectors are not of unit length"):
        verify(tmp_path, interactions)
