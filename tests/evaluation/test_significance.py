import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hnlmrec.errors import ArtifactError
from hnlmrec.evaluation import Evaluation, compare
from hnlmrec.evaluation.significance import bootstrap_interval, holm, paired_test

METRIC = "recall@10"


def evaluation(values, users=None):
    users = range(len(values)) if users is None else users
    return Evaluation(pl.DataFrame({"user": list(users), "n_relevant": 1, METRIC: list(values)}))


def literal_holm(p):
    """Holm's step-down procedure, read off its definition."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, largest = [0.0] * len(p), 0.0
    for step, i in enumerate(order):
        largest = max(largest, (len(p) - step) * p[i])
        corrected[i] = min(1.0, largest)
    return corrected


def test_holm_by_hand():
    # sorted: .01 * 4, .02 * 3, .03 * 2 = .06, .05 * 1 -> raised to .06
    assert holm(np.array([0.03, 0.01, 0.05, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert len(holm(np.array([]))) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_against_its_definition(p):
    assert holm(np.array(p)) == pytest.approx(literal_holm(p))


def test_paired_test_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.random(60), rng.random(60) + 0.1
    result = paired_test(a - b)
    assert result["p_t"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert result["p_wilcoxon"] == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert result["difference"] == pytest.approx(a.mean() - b.mean())
    assert result["d"] == pytest.approx((a - b).mean() / (a - b).std(ddof=1))


@pytest.mark.parametrize("difference", [[0.0, 0.0, 0.0], [0.3]])
def test_nothing_to_tell_apart(difference):
    result = paired_test(np.array(difference))
    assert (result["p_t"], result["p_wilcoxon"], result["d"]) == (1.0, 1.0, 0.0)


def test_constant_differences_are_infinitely_clear():
    result = paired_test(np.full(20, -0.25))
    assert result["d"] == -np.inf
    assert result["p_t"] == 0.0
    assert 0 < result["p_wilcoxon"] < 0.001


def test_compare_averages_seeds_within_a_user():
    base = [evaluation([0.0, 0.2, 0.4, 0.4]), evaluation([0.2, 0.2, 0.0, 0.4])]
    better = [evaluation([0.5, 0.3, 0.4, 0.9])]
    frame = compare({"base": base, "better": better}, "base", [METRIC])
    differences = np.array([0.4, 0.1, 0.2, 0.5])
    row = frame.row(0, named=True)
    assert row["difference"] == pytest.approx(0.3)
    assert row["p_t"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert row["d"] == pytest.approx(0.3 / differences.std(ddof=1))
    assert (row["model"], row["reference"], row["metric"]) == ("better", "base", METRIC)


def test_compare_corrects_for_the_models_of_a_metric():
    rng = np.random.default_rng(1)
    models = {name: [evaluation(rng.random(30) + add)] for name, add in
              (("base", 0), ("a", 0.2), ("b", 0.3), ("c", 0))}  # fmt: skip
    frame = compare(models, "base", [METRIC])
    assert frame["model"].to_list() == ["a", "b", "c"]
    for kind in ("p_t", "p_wilcoxon"):
        assert frame[f"{kind}_holm"].to_list() == pytest.approx(literal_holm(frame[kind].to_list()))
    assert frame["p_t_holm"][1] == pytest.approx(3 * frame["p_t"].min())


def test_seeds_in_another_order_are_no_difference():
    values = [0.1, 0.2, 0.7]
    one = [evaluation([value, 0.0]) for value in values]
    other = [evaluation([value, 0.0]) for value in (0.7, 0.1, 0.2)]
    row = compare({"one": one, "other": other}, "one", [METRIC]).row(0, named=True)
    assert row["p_t"] == row["p_wilcoxon"] == row["p_wilcoxon_holm"] == 1.0


def test_the_order_of_users_is_of_no_consequence():
    a = evaluation([0.1, 0.5, 0.9], users=[0, 1, 2])
    same = evaluation([0.9, 0.1, 0.5], users=[2, 0, 1])
    assert compare({"a": [a], "same": [same]}, "a", [METRIC])["difference"].to_list() == [0.0]


def test_a_reference_alone_gives_no_rows():
    frame = compare({"a": [evaluation([0.1, 0.2])]}, "a", [METRIC])
    assert frame.height == 0
    assert "p_wilcoxon_holm" in frame.columns


def test_other_users_are_refused():
    models = {"a": [evaluation([0.1, 0.2])], "b": [evaluation([0.1, 0.2], users=[0, 5])]}
    with pytest.raises(ArtifactError, match=r"evaluation of b: .*other users"):
        compare(models, "a", [METRIC])


def test_bootstrap_intervals_are_those_of_scipy_and_of_theory():
    random = np.random.default_rng(1)
    values = np.stack([random.normal(2, 3, 2000), random.exponential(1, 2000)], axis=1)
    ends = np.stack(bootstrap_interval(values))
    half = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    np.testing.assert_allclose(ends, values.mean(axis=0) + np.outer([-1, 1], half), atol=0.02)
    for column in range(2):
        theirs = stats.bootstrap(
            (values[:, column],), np.mean, n_resamples=2000, batch=100, method="percentile", rng=2
        ).confidence_interval
        np.testing.assert_allclose(ends[:, column], [theirs.low, theirs.high], atol=half.max() / 8)
    # the same resamples for all columns: what is always larger by one is so by exactly one
    low, high = bootstrap_interval(np.stack([values[:, 0], values[:, 0] + 1], axis=1))
    np.testing.assert_allclose(np.diff(low), 1)
    np.testing.assert_allclose(np.diff(high), 1)


def test_equal_values_have_an_interval_of_no_length():
    np.testing.assert_allclose(bootstrap_interval(np.full((5, 1), 0.25)), [[0.25], [0.25]])
