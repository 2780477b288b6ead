from __future__ import annotations

import polars as pl
from report_cases import study_facts, summary_frame

from hnlmrec.report.findings import cautions, finding
from hnlmrec.report.source import Facts, Source


def _source(notes: list[str] | None = None, **changes: object) -> Source:
    facts = study_facts(**changes)
    return Source(Facts.model_validate(facts), summary_frame(facts), notes=notes or [])


def test_the_best_model_and_its_gain_are_named() -> None:
    # noise: 0.12 against 0.10, p = .2
    said = finding(_source())
    assert "The model noise is best in recall@20 with 0.1200" in said
    assert "+0.0200 (+20.0%) against the reference dns (0.1000)" in said
    assert "not significant (p = 0.200" in said


def test_a_significant_gain_is_called_so() -> None:
    said = finding(_source(models=["dns", "hnlmrec"]))
    assert "the difference is significant (p = 0.004" in said


def test_a_best_reference_is_compared_with_the_next() -> None:
    said = finding(_source(reference="noise"))
    assert said.startswith("The reference noise is best in recall@20 with 0.1200")
    assert "the next is hnlmrec with 0.1100, -0.0100 (-8.3%)" in said


def test_several_others_are_counted() -> None:
    # hnlmrec is clearly above the reference, noise not
    source = _source(models=["dns", "hnlmrec", "noise", "uniform", "popularity"])
    worse = pl.col("model").is_in(["uniform", "popularity"])
    summary = source.summary.with_columns(
        difference=pl.when(worse).then(-0.01).otherwise("difference"),
        p_t_holm=pl.when(worse).then(0.001).otherwise("p_t_holm"),
    )
    said = finding(Source(source.facts, summary))
    assert said.endswith(
        "dns is significantly above 2 of the 4 other models, below 1, and level with 1."
    )


def test_a_missing_test_is_never_called_significant() -> None:
    source = _source(models=["dns", "hnlmrec"])
    summary = source.summary.with_columns(p_t_holm=pl.lit(None, pl.Float64))
    bare = Source(source.facts, summary)
    assert finding(bare).endswith("no test of significance is given.")
    assert "No test of significance is given" in " ".join(cautions(bare))


def test_equal_models_share_the_first_place() -> None:
    source = _source(metrics=["recall@20"])
    level = Source(source.facts, source.summary.with_columns(mean=pl.lit(0.1)))
    assert finding(level) == "dns, hnlmrec, noise are equal, and best, in recall@20 with 0.1000."


def test_several_points_are_counted() -> None:
    source = _source(points=["0", "1", "2"], models=["dns", "hnlmrec"])
    assert finding(source) == (
        "The model hnlmrec is best in recall@20 at 3 of 3 points; hnlmrec is significantly above "
        "the reference dns at 3 and below it at 0 of 3 points (paired t-test over users, Holm): "
        # of .11 and .15, .01 above the reference
        "+0.0100 (+10.0%) at 0, +0.0100 (+7.1%) at 2."
    )
    worse = source.summary.with_columns(
        difference=-pl.col("difference"),
        mean=pl.when(model="dns").then(0.9).otherwise(pl.col("mean")),
    )
    said = finding(Source(source.facts, worse))
    assert said.startswith("The reference dns is best in recall@20 at 3 of 3 points; hnlmrec is")
    assert "above the reference dns at 0 and below it at 3 of 3 points" in said


def test_what_weakens_the_numbers_is_said_first() -> None:
    assert cautions(_source()) == []
    said = cautions(_source(["train/a: warning: collapsed"], quick=True, seeds=[0]))
    assert [line.split(":")[0] for line in said] == ["A quick run", "One seed", "train/a"]
    assert cautions(_source(models=["dns"]))[0].startswith("One model")
