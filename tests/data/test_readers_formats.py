from __future__ import annotations

import gzip
import json
from typing import get_args

import pytest

from hnlmrec.config import DataConfig
from hnlmrec.data.readers import READERS, RawData
from hnlmrec.errors import DataError


def read(reader, folder, **settings) -> RawData:
    return READERS[reader](DataConfig(reader=reader, path=str(folder), **settings), folder)


def test_every_reader_of_the_config_exists():
    assert set(READERS) == set(get_args(DataConfig.model_fields["reader"].annotation))


class TestRecbole:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "d.inter").write_text(
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "u 1\ti\t4\t881250949\n"
            '"u\tj"\t2.5\t881250950.0\n'
        )
        (tmp_path / "d.item").write_text(
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            'i\tThe "Best" Film\t1995\tComedy Film-Noir\n'
            'j"\tAlready (1996)\t1996\tDrama\n'
            "k\tOdd year\tunknown\t\n"
        )
        return tmp_path

    def test_fields_are_literal_and_typed(self, folder):
        raw = read("recbole", folder)
        assert raw.interactions.rows() == [
            ("u 1", "i", 4.0, 881250949, None),
            ('"u', 'j"', 2.5, 881250950, None),
        ]
        assert raw.clock == "seconds"

    def test_year_joins_the_title_and_genres_get_commas(self, folder):
        assert read("recbole", folder).items.select("item_id", "title", "categories").rows() == [
            ("i", 'The "Best" Film (1995)', "Comedy, Film-Noir"),
            ('j"', "Already (1996)", "Drama"),
            ("k", "Odd year", ""),
        ]

    def test_items_are_optional_and_other_names_are_known(self, folder):
        (folder / "d.item").write_text(
            "item_id:token\ttitle:token_seq\tcategories:token_seq\tbrand:token\nx\tT U\tA B\tC\n"
        )
        assert read("recbole", folder).items.row(0) == ("x", "T U", "C", "A B", "")
        (folder / "d.item").unlink()
        raw = read("recbole", folder)
        assert raw.items.height == 0
        assert raw.notes == ("there is no .item file, so no item has a text",)

    def test_two_inter_files_must_be_told_apart(self, folder):
        (folder / "e.inter").write_text("user_id:token\titem_id:token\na\tb\n")
        with pytest.raises(DataError, match=r"several files fit: d\.inter, e\.inter"):
            read("recbole", folder)
        assert read("recbole", folder, interactions="e.inter").interactions.height == 1

    def test_a_quoted_word_does_not_swallow_lines(self, folder):
        (folder / "d.inter").write_text('user_id:token\titem_id:token\n"a\tb\nc\td\n')
        assert read("recbole", folder).interactions.height == 2


class TestMovielens:
    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "ratings.csv").write_text(
            "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n"
        )
        (tmp_path / "movies.csv").write_text(
            "movieId,title,genres\n"
            '31,"American President, The (1995)",Comedy|Drama\n'
            '32,"""Great"" Cats (1998)",(no genres listed)\n',
            encoding="utf-8",
        )
        return tmp_path

    def test_ratings_and_movies(self, folder):
        raw = read("movielens", folder)
        assert raw.interactions.rows() == [("1", "31", 2.5, 1260759144, None)]
        assert raw.clock == "seconds"
        assert raw.items.rows() == [
            ("31", "American President, The (1995)", "", "Comedy, Drama", ""),
            ("32", '"Great" Cats (1998)', "", "", ""),
        ]

    def test_genres_are_optional(self, folder):
        (folder / "movies.csv").write_text("movieId,title\n31,T\n")
        assert read("movielens", folder).items.row(0) == ("31", "T", "", "", "")


REVIEWS = [
    {
        "reviewerID": "A1",
        "asin": "B1",
        "overall": 5.0,
        "unixReviewTime": 1529193600,
        "summary": "Five &amp; more",
        "reviewText": "Great<br />gift.",
    },
    {"reviewerID": "A2", "asin": "B1", "overall": 3, "unixReviewTime": 1529193601},
]


def write_gz(path, lines):
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


class TestAmazon:
    @pytest.fixture
    def folder(self, tmp_path):
        write_gz(tmp_path / "Toys_5.json.gz", [json.dumps(review) for review in REVIEWS])
        meta = {
            "asin": "B1",
            "title": "Card",
            "brand": "X",
            "category": ["Gift Cards", "Gift Cards", "For all"],
            "description": ["One.", "Two."],
        }
        write_gz(
            tmp_path / "meta_Toys.json.gz",
            [json.dumps(meta), json.dumps({**meta, "asin": "never reviewed"}), json.dumps(meta)],
        )
        return tmp_path

    def test_2018(self, folder):
        raw = read("amazon", folder)
        assert raw.interactions.rows() == [
            ("A1", "B1", 5.0, 1529193600, "Five & more Great gift."),
            ("A2", "B1", 3.0, 1529193601, ""),
        ]
        assert raw.clock == "seconds"
        assert raw.items.rows() == [("B1", "Card", "X", "Gift Cards, For all", "One. Two.")]
        assert raw.notes == ("records that repeat an item and were left out: 1",)

    def test_ratings_and_times_are_optional(self, folder):
        write_gz(folder / "Toys_5.json.gz", ['{"reviewerID": "A1", "asin": "B1"}'])
        raw = read("amazon", folder)
        assert raw.interactions.row(0) == ("A1", "B1", None, None, "")
        assert raw.clock == "none"

    def test_2014_with_python_literals_and_plain_files(self, tmp_path):
        (tmp_path / "reviews_Toys_5.json").write_text(json.dumps(REVIEWS[0]))
        (tmp_path / "meta_Toys.json").write_text(
            "{'asin': 'B1', 'title': \"It's\", 'categories': [['Toys', 'Dolls']], "
            "'description': 'One.'}\n"
        )
        assert read("amazon", tmp_path).items.row(0) == ("B1", "It's", "", "Toys, Dolls", "One.")

    def test_reviews_must_be_json(self, folder):
        write_gz(folder / "Toys_5.json.gz", [json.dumps(REVIEWS[0]), "{'reviewerID': 'A1'}"])
        with pytest.raises(DataError, match=r"Toys_5\.json\.gz, line 2: this is not JSON"):
            read("amazon", folder)

    def test_metadata_that_are_neither_are_refused(self, folder):
        write_gz(folder / "meta_Toys.json.gz", ['{"asin": "B1"}', "", "{'asin': open('x')}"])
        with pytest.raises(DataError, match=r"meta_Toys\.json\.gz, line 3: this is not JSON"):
            read("amazon", folder)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"overall": "five"}, r"line 1, column overall: 'five' is not a number"),
            ({"unixReviewTime": 1e300}, r"line 1, column unixReviewTime: 1e\+300 is not"),
            ({"unixReviewTime": float("nan")}, r"line 1, column unixReviewTime: nan is not"),
            ({"reviewerID": ""}, r"line 1: the reviewerID is empty"),
            ({"asin": None}, r"line 1: the asin is empty"),
        ],
    )
    def test_wrong_values_are_located(self, folder, change, message):
        write_gz(folder / "Toys_5.json.gz", [json.dumps({**REVIEWS[0], **change})])
        with pytest.raises(DataError, match=message):
            read("amazon", folder)

    def test_a_missing_key_names_those_found(self, folder):
        write_gz(folder / "Toys_5.json.gz", ['{"user": "a", "asin": "b"}'])
        with pytest.raises(DataError, match="no column 'reviewerID'; found: user, asin"):
            read("amazon", folder)
