from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hnlmrec.data.interactions import Interactions
from hnlmrec.errors import ArtifactError
from hnlmrec.synthesis.controls import Noise, Shuffled
from hnlmrec.synthesis.store import NegativeStore
from hnlmrec.synthesis.vectors import VectorTable
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
    with (tmp_path / "negatives.f16").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(ArtifactError, match="cut short: 100 of"):
        NegativeStore.open(tmp_path, interactions)


def test_creating_again_keeps_rows_of_the_same_shape_only(tmp_path: Path) -> None:
    path = tmp_path / "t"
    VectorTable.create(path, 4, 2).write(np.array([1]), torch.ones(1, 2))
    assert VectorTable.create(path, 4, 2).missing().tolist() == [0, 2, 3]
    assert VectorTable.create(path, 4, 3).missing().tolist() == [0, 1, 2, 3]


def test_mean_is_that_of_all_rows(tmp_path: Path) -> None:
    table = VectorTable.create(tmp_path / "t", 5, 3)
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
