from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from report_cases import write_run

from hnlmrec.data.interactions import Interactions
from hnlmrec.report.explorer import (
    explorer,
    first_pairs,
    packed,
    principal_plane,
    sample_users,
)
from synthetic import interactions


def _rows(packed_rows: dict[str, list[int]]) -> list[list[int]]:
    ends = np.cumsum(packed_rows["counts"])[:-1]
    return [part.tolist() for part in np.split(np.array(packed_rows["items"]), ends)]


def test_it_holds_what_users_did(run_folder: Path) -> None:
    content, data = explorer(run_folder), interactions()
    assert content["model"] == "hnlmrec"
    assert content["users"]["ids"] == data.user_ids.to_list()
    train, held_out = (_rows(content["users"][name]) for name in ("train", "held_out"))
    for user in (0, 7, data.n_users - 1):
        assert train[user] == data.train[[user]].indices.tolist()
        assert held_out[user] == sorted((data.valid + data.test)[[user]].indices.tolist())
    assert content["items"]["popularity"][3] == data.train[:, [3]].nnz
    assert content["users"]["writers"][:4] == ["fallback"] * 3 + ["template"]


def test_no_negative_is_a_training_item_of_its_user(run_folder: Path) -> None:
    content = explorer(run_folder)
    pairs, train = content["pairs"], _rows(content["users"]["train"])
    users = np.repeat(np.arange(len(pairs["counts"])), pairs["counts"])
    near = np.array(pairs["synthesised"]).reshape(-1, pairs["nearest"])
    assert set(pairs["picks"]) == {"DNS", "MixGCF", "AHNS"}
    for place, user in enumerate(users):
        assert pairs["positives"][place] in train[user]
        assert not set(near[place]) & set(train[user])
        assert not {picks[place] for picks in pairs["picks"].values()} & set(train[user])
    cosines = np.array(pairs["cosines"]).reshape(near.shape)
    assert (np.diff(cosines, axis=1) <= 0).all()  # nearest first
    assert np.abs(cosines).max() <= 100


def test_nearest_items_are_those_of_the_largest_cosine(run_folder: Path) -> None:
    from hnlmrec.training import TrainedModel

    content = explorer(run_folder)
    items = TrainedModel.load(run_folder / "train/hnlmrec-seed0").view.items
    unit = torch.nn.functional.normalize(items, dim=1)
    near = np.array(content["pairs"]["synthesised"]).reshape(-1, 3)
    # the first two nearest items of a pair are about as near to one another as cosines allow
    cosines = np.array(content["pairs"]["cosines"]).reshape(-1, 3) / 100
    between = (unit[near[:, 0]] * unit[near[:, 1]]).sum(dim=1).numpy()
    least = np.cos(np.arccos(cosines[:, 0]) + np.arccos(cosines[:, 1]))
    assert (between >= least - 0.02).all()


def test_a_run_without_synthesised_negatives_shows_its_reference(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", interactions())
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("source: synthesised", "source: noise"))
    content = explorer(folder)
    assert content["model"] == "dns"
    assert content["pairs"]["nearest"] == 0
    assert content["pairs"]["synthesised"] == []


def test_fewer_users_are_a_sample_that_is_the_same_each_time(run_folder: Path) -> None:
    some = explorer(run_folder, 10)
    assert len(some["users"]["ids"]) == 10
    assert some["users_in_all"] == interactions().n_users
    assert packed(some) == packed(explorer(run_folder, 10))
    assert sample_users(5, 9).tolist() == [0, 1, 2, 3, 4]
    chosen = sample_users(1000, 20)
    assert len(set(chosen.tolist())) == 20
    assert (np.diff(chosen) > 0).all()
    # popularity is that of all users all the same
    assert some["items"]["popularity"] == explorer(run_folder)["items"]["popularity"]


def test_profiles_may_be_missing(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", interactions())
    (folder / "profile/users.parquet").unlink()
    assert explorer(folder)["users"]["profiles"] is None


def test_first_pairs_are_positions_in_the_matrix() -> None:
    data: Interactions = interactions()
    users = np.array([2, 5])
    counts, index = first_pairs(data.train, users)
    starts, ends = data.train.indptr[users], data.train.indptr[users + 1]
    assert counts.tolist() == np.minimum(ends - starts, 5).tolist()
    expected = [
        start + n for start, count in zip(starts, counts, strict=True) for n in range(count)
    ]
    assert index.tolist() == expected


def test_what_is_packed_comes_out_again() -> None:
    content = {"titles": ["</script> é ✓", '"']}
    text = packed(content)
    assert "<" not in text
    assert json.loads(gzip.decompress(base64.b64decode(text))) == content


def test_the_plane_keeps_the_main_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(200, 2, generator=generator)
    hidden = torch.linalg.qr(hidden - hidden.mean(dim=0))[0] * torch.tensor([5.0, 2.0])
    turned, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    plane, share = principal_plane(hidden @ turned[:2] + 7)
    assert share == pytest.approx(1.0)
    assert (plane.min(), plane.max()) == (0, 1000)
    assert abs(np.corrcoef(plane[:, 0], hidden[:, 0].numpy())[0, 1]) > 0.99
    assert abs(np.corrcoef(plane[:, 1], hidden[:, 1].numpy())[0, 1]) > 0.99


def test_a_plane_of_one_direction_or_of_equal_items_is_no_error() -> None:
    plane, _ = principal_plane(torch.arange(5.0)[:, None])
    assert sorted(plane[:, 0].tolist()) == [0, 250, 500, 750, 1000]
    assert plane[:, 1].tolist() == [0] * 5
    assert principal_plane(torch.ones(3, 4))[0].tolist() == [[0, 0]] * 3
