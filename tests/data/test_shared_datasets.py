"""The readers on real datasets; each test is skipped where its dataset is absent."""

from __future__ import annotations

import re

import pytest

from hnlmrec.config import DataConfig
from hnlmrec.data.embedded import locate
from hnlmrec.data.interactions import Interactions, ItemTexts
from hnlmrec.data.prepare import PrepareReport, load_reviews, prepare
from hnlmrec.errors import DataError


def counts(report: PrepareReport) -> tuple[int, int, int]:
    return report.users, report.items, sum(report.interactions.values())


def test_office(shared_data, tmp_path):
    config = DataConfig(reader="table", path=str(shared_data("amazon-office-2014")), core=1)
    report = prepare(config, tmp_path)
    assert counts(report) == (4_905, 2_420, 53_258)
    frame = ItemTexts.load(tmp_path).frame
    filled = {name: int((frame[name] != "").sum()) for name in frame.columns}
    assert filled["title"] == 2_417
    assert filled["brand"] == 1_935
    assert not any("&amp;" in title for title in frame["title"])


def test_toys_by_position(shared_data, tmp_path):
    folder = str(shared_data("amazon-toys-2014"))
    config = DataConfig(reader="table", path=folder, split={"method": "leave_one_out"})
    report = prepare(config, tmp_path)
    assert counts(report) == (19_412, 11_924, 167_597)
    assert report.interactions["test"] == report.interactions["valid"] == 19_412
    texts = ItemTexts.load(tmp_path)
    batman = Interactions.load(tmp_path).item_ids.to_list().index("i0")
    assert texts.frame["categories"][batman] == "Toys & Games, Grown-Up Toys, Action & Toy Figures"


def test_yelp_repeats(shared_data, tmp_path):
    config = DataConfig(reader="table", path=str(shared_data("yelp-2019")), core=1)
    report = prepare(config, tmp_path)
    assert counts(report) == (30_431, 20_033, 304_524)
    assert report.steps[1].dropped_interactions == 11_830


def test_movielens_latest_small(shared_data, tmp_path):
    path = str(shared_data("movielens-latest-small"))
    config = DataConfig(reader="movielens", path=path, core=1, min_rating=None)
    report = prepare(config, tmp_path)
    assert counts(report) == (671, 9_066, 100_004)
    assert report.items_without_text == 0


def test_gift_cards_with_reviews(shared_data, tmp_path):
    path = str(shared_data("amazon-gift-cards-2018"))
    config = DataConfig(reader="amazon", path=path, core=1, min_rating=None)
    report = prepare(config, tmp_path)
    assert report.steps[0].interactions == 2_972
    assert (report.users, report.items) == (458, 148)
    assert load_reviews(tmp_path).height == report.reviews > 1_900
    text = " ".join(ItemTexts.load(tmp_path).frame["description"])
    assert not re.search(r"</?(div|br|a|p|script)\b|&amp;|&quot;", text)


def test_embedded_movielens(tmp_path):
    try:
        locate("embedded:ml-100k")
    except DataError as error:
        pytest.skip(str(error))
    report = prepare(DataConfig(core=1, min_rating=None), tmp_path)
    assert counts(report) == (943, 1_682, 100_000)
    assert report.items_without_text == 0
    titles = ItemTexts.load(tmp_path).titles()
    assert titles[0] == "Kolya (1996)"
