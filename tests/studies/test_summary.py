"""The summary of a study."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from hnlmrec.studies.summary import summarise

N = 300


@pytest.fixture(scope="module")
def per_user() -> pl.DataFrame:
    random = np.random.default_rng(0)
    base = random.random(N)
    frames = []
    for point in ("few", "many"):
        for model, shift in (("a", 0.0), ("b", 0.05), ("c", 0.0)):
            for seed in (0, 1):
                noise = random.normal(0, 0.1, N)
                frames.append(
                    pl.DataFrame(
                        {
                            "point": point,
                            "model": model,
                            "seed": seed,
                            "user": np.arange(N),
                            "n_relevant": 1,
                            "recall@20": base + shift + noise,
                        }
                    ).sample(fraction=1, shuffle=True, seed=seed)
                )
    return pl.concat(frames)


def test_each_point_is_summarised_and_tested_alone(per_user: pl.DataFrame) -> None:
    found = summarise(per_user, "a", ["recall@20"])
    assert found.height == 6
    for (point, model), own in per_user.group_by("point", "model"):
        (row,) = found.filter(point=point, model=model).iter_rows(named=True)
        seeds = own.group_by("seed").agg(pl.col("recall@20").mean())["recall@20"]
        assert row["mean"] == pytest.approx(seeds.mean())
        assert row["sd"] == pytest.approx(seeds.std())
        assert row["low"] < row["mean"] < row["high"]
        users = own.group_by("user").agg(pl.col("recall@20").mean()).sort("user")["recall@20"]
        reference = (
            per_user.filter(point=point, model="a")
            .group_by("user")
            .agg(pl.col("recall@20").mean())
            .sort("user")["recall@20"]
        )
        if model == "a":
            assert row["difference"] is row["p_t_holm"] is row["difference_low"] is None
            continue
        assert row["difference"] == pytest.approx((users - reference).mean())
        assert row["difference_low"] < row["difference"] < row["difference_high"]
        p = stats.ttest_rel(users, reference).pvalue
        assert row["p_t_holm"] in (pytest.approx(p), pytest.approx(min(2 * p, 1)))
        assert (row["difference_low"] > 0) == (model == "b")


def test_one_seed_has_no_spread(per_user: pl.DataFrame) -> None:
    found = summarise(per_user.filter(seed=0), "a", ["recall@20"])
    assert found["sd"].is_null().all()
    assert (found["seeds"] == 1).all()
