"""What the processes of a run tell each other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import multiprocessing

from hnlmrec.distributed import ALONE, World, current, joined


@given(st.integers(0, 1000), st.integers(1, 17))
def test_shares_are_all_rows_once_and_even(n: int, size: int) -> None:
    rows = list(range(n))
    shares = [rows[World(rank, size).share(n)] for rank in range(size)]
    assert [row for share in shares for row in share] == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_everything_is_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as world:
        assert world == ALONE == current()
        world.wait()
        assert world.tell("a") == "a"
        tensor = torch.ones(2)
        assert world.sum(tensor) is tensor
        assert world.rows(tensor) is tensor
        assert world.is_first


def _talk(rank: int, size: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = (Path(folder) / "port").read_text()
    with joined() as world:
        found: dict[str, Any] = {
            "world": (world.rank, world.size),
            "told": world.tell({"from": rank}),
            "sum": world.sum(torch.tensor([1.0, rank])),
            # of rank 0 none
            "rows": world.rows(torch.full((rank, 2), float(rank))),
            "nothing": world.rows(torch.zeros(0, 3)),
        }
        world.wait()
    torch.save(found, Path(folder) / f"{rank}.pt")


def test_three_processes_tell_each_other_the_same(tmp_path: Path, free_port: int) -> None:
    (tmp_path / "port").write_text(str(free_port))
    multiprocessing.start_processes(_talk, args=(3, str(tmp_path)), nprocs=3)
    for rank in range(3):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["world"] == (rank, 3)
        assert found["told"] == {"from": 0}
        assert found["sum"].tolist() == [3, 3]
        assert found["rows"].tolist() == [[1, 1], [2, 2], [2, 2]]
        assert found["nothing"].shape == (0, 3)
