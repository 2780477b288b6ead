from __future__ import annotations

import gzip
import json
from typing import get_args

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnlmrec.config import DataConfig
from hnlmrec.data.readers import READERS, RawData
from hnlmrec.errors import DataError


def read(reader, folder, **settings) -> RawData:
    return READERS[reader](DataConfig(reader=reader, path=str(folder), **settings), folder)


def reviews(raw: RawData) -> list[str]:
    assert raw.reviews is not None
    rows = pl.int_range(raw.interactions.height, dtype=pl.UInt32, eager=True)
    return raw.reviews(rows).to_list()


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
            ("u 1", "i", 4.0, 881250949),
            ('"u', 'j"', 2.5, 881250950),
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
        assert raw.interactions.rows() == [("1", "31", 2.5, 1260759144)]
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
            ("A1", "B1", 5.0, 1529193600),
            ("A2", "B1", 3.0, 1529193601),
        ]
        assert reviews(raw) == ["Five & more Great gift.", ""]
        assert raw.clock == "seconds"
        assert raw.items.rows() == [("B1", "Card", "X", "Gift Cards, For all", "One. Two.")]
        assert raw.notes == ("records that repeat an item and were left out: 1",)

    def test_ratings_and_times_are_optional(self, folder):
        write_gz(folder / "Toys_5.json.gz", ['{"reviewerID": "A1", "asin": "B1"}'])
        raw = read("amazon", folder)
        assert raw.interactions.row(0) == ("A1", "B1", None, None)
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


REVIEWS_2023 = [
    {
        "rating": 4.0,
        "title": "Good",
        "text": "Plays &amp; runs<br />well.",
        "asin": "B00COLOUR1",
        "parent_asin": "B00PARENT0",
        "user_id": "AGKHLEW2",
        "timestamp": 1514764799999,
        "verified_purchase": True,
    },
    {"user_id": "AF0", "parent_asin": "B00PARENT0", "asin": "B2", "timestamp": 1514764800000},
]
META_2023 = {
    "parent_asin": "B00PARENT0",
    "main_category": "All Electronics",
    "title": "Player",
    "store": "Acme",
    "categories": ["Electronics", "Audio"],
    "description": ["Small."],
    "features": ["LIGHT", "Blue"],
    "details": {"Brand": "Other", "Colour": "red"},
}


class TestAmazon2023:
    @pytest.fixture
    def folder(self, tmp_path):
        write_gz(tmp_path / "Electronics.jsonl.gz", [json.dumps(line) for line in REVIEWS_2023])
        write_gz(tmp_path / "meta_Electronics.jsonl.gz", [json.dumps(META_2023)])
        return tmp_path

    def test_milliseconds_become_whole_seconds(self, folder):
        raw = read("amazon", folder)
        assert raw.interactions.rows() == [
            ("AGKHLEW2", "B00PARENT0", 4.0, 1514764799),
            ("AF0", "B00PARENT0", None, 1514764800),
        ]
        assert raw.clock == "seconds"
        assert reviews(raw) == ["Good Plays & runs well.", ""]

    def test_metadata(self, folder):
        assert read("amazon", folder).items.rows() == [
            ("B00PARENT0", "Player", "Acme", "Electronics, Audio", "Small. LIGHT Blue")
        ]

    @pytest.mark.parametrize(
        ("change", "row"),
        [
            ({"store": None}, ("Player", "Other", "Electronics, Audio", "Small. LIGHT Blue")),
            (
                {"store": None, "details": '{"Brand": "X"}', "categories": [], "features": []},
                ("Player", "", "All Electronics", "Small."),
            ),
            (
                dict.fromkeys(META_2023.keys() - {"parent_asin"}),
                ("", "", "", ""),
            ),
        ],
    )
    def test_what_is_absent_is_taken_from_elsewhere_or_empty(self, folder, change, row):
        write_gz(folder / "meta_Electronics.jsonl.gz", [json.dumps({**META_2023, **change})])
        assert read("amazon", folder).items.row(0)[1:] == row

    def test_variants_can_be_the_items(self, folder):
        write_gz(folder / "meta_Electronics.jsonl.gz", ['{"asin": "B2", "title": "Variant"}'])
        raw = read("amazon", folder, columns={"item": "asin"})
        assert raw.interactions["item_id"].to_list() == ["B00COLOUR1", "B2"]
        assert raw.items["title"].to_list() == ["Variant"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"rating": "4"}, r"line 2, column rating: '4' is not a number"),
            ({"timestamp": "2018-01-01"}, r"line 2, column timestamp: '2018-01-01' is not"),
            ({"user_id": None}, r"line 2: the user_id is empty"),
        ],
    )
    def test_wrong_values_are_located(self, folder, change, message):
        lines = [REVIEWS_2023[0], {**REVIEWS_2023[1], **change}]
        write_gz(folder / "Electronics.jsonl.gz", [json.dumps(line) for line in lines])
        with pytest.raises(DataError, match=message):
            read("amazon", folder)

    def test_a_later_line_without_the_item_names_the_keys_found(self, folder):
        lines = [json.dumps(REVIEWS_2023[0]), '{"user_id": "a", "asin": "b"}']
        write_gz(folder / "Electronics.jsonl.gz", lines)
        with pytest.raises(
            DataError, match="line 2: there is no column 'parent_asin'; found: user_id, asin"
        ):
            read("amazon", folder)


YELP_REVIEWS = [
    {
        "review_id": "r1",
        "user_id": "u1",
        "business_id": "b1",
        "stars": 5.0,
        "date": "2017-12-31 23:59:59",
        "text": "Dim sum!\n\nAgain.",
    },
    {"user_id": "u2", "business_id": "b2", "stars": 1, "date": "2018-01-01"},
]
BUSINESS = {
    "business_id": "b1",
    "name": "Moon Congee",
    "city": "Philadelphia",
    "state": "PA",
    "stars": 4.5,
    "categories": "Restaurants, Dim Sum",
    "attributes": {
        "OutdoorSeating": "True",
        "GoodForKids": "False",
        "NoiseLevel": "u'average'",
        "Alcohol": "'none'",
        "WiFi": "u'no'",
        "GoodForMeal": "{'dessert': False, 'lunch': True, 'dinner': True, 'brunch': None}",
        "BusinessParking": "{'garage': False}",
        "RestaurantsPriceRange2": "2",
        "Odd": "not a literal",
        "Missing": "None",
        "ByHand": True,
    },
}


class TestYelp:
    @pytest.fixture
    def folder(self, tmp_path):
        self.write(tmp_path, "review", YELP_REVIEWS)
        self.write(tmp_path, "business", [BUSINESS, {"business_id": "never reviewed"}])
        return tmp_path

    def write(self, folder, kind, records, ending=".json"):
        text = "".join(json.dumps(record) + "\n" for record in records).encode()
        path = folder / f"yelp_academic_dataset_{kind}{ending}"
        path.write_bytes(gzip.compress(text) if ending.endswith("gz") else text)

    def test_reviews(self, folder):
        raw = read("yelp", folder)
        assert raw.interactions.rows() == [
            ("u1", "b1", 5.0, 1514764799),
            ("u2", "b2", 1.0, 1514764800),
        ]
        assert raw.clock == "seconds"
        assert reviews(raw) == ["Dim sum! Again.", ""]

    def test_a_business_in_words(self, folder):
        assert read("yelp", folder).items.rows() == [
            (
                "b1",
                "Moon Congee",
                "",
                "Restaurants, Dim Sum",
                "Philadelphia, PA; Outdoor Seating; Noise Level: average; "
                "Good For Meal: lunch, dinner; Restaurants Price Range2: 2; Odd: not a literal; "
                "By Hand",
            )
        ]

    @pytest.mark.parametrize("attributes", [None, {}, "None"])
    def test_nulls(self, folder, attributes):
        nulls = {**BUSINESS, "categories": None, "attributes": attributes, "city": None}
        self.write(folder, "business", [nulls])
        assert read("yelp", folder).items.row(0) == ("b1", "Moon Congee", "", "", "PA")
        self.write(folder, "business", [{"business_id": "b1"}])
        assert read("yelp", folder).items.row(0) == ("b1", "", "", "", "")

    def test_gzip_and_short_names(self, tmp_path):
        self.write(tmp_path, "review", YELP_REVIEWS, ".json.gz")
        (tmp_path / "business.json").write_text(json.dumps(BUSINESS))
        raw = read("yelp", tmp_path)
        assert (raw.interactions.height, raw.items.height) == (2, 1)
        assert reviews(raw) == ["Dim sum! Again.", ""]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"date": "soon"}, r"review\.json, line 2, column date: 'soon' is not a date.*2016-"),
            ({"date": 1514764800}, r"line 2, column date: 1514764800 is not a date"),
            ({"stars": "5"}, r"line 2, column stars: '5' is not a number"),
            ({"business_id": ""}, r"line 2: the business_id is empty"),
        ],
    )
    def test_wrong_values_are_located(self, folder, change, message):
        self.write(folder, "review", [YELP_REVIEWS[0], {**YELP_REVIEWS[1], **change}])
        with pytest.raises(DataError, match=message):
            read("yelp", folder)

    def test_a_missing_key_names_those_found(self, folder):
        self.write(folder, "review", [{"user_id": "u", "stars": 1}])
        with pytest.raises(
            DataError, match=r"line 1: there is no column 'business_id'; found: user_id, stars"
        ):
            read("yelp", folder)
        self.write(folder, "review", YELP_REVIEWS)
        self.write(folder, "business", [{"name": "x"}])
        with pytest.raises(DataError, match=r"business\.json, line 1: there is no column"):
            read("yelp", folder)

    @pytest.mark.parametrize("kind", ["review", "business"])
    def test_a_line_that_is_not_json(self, folder, kind):
        with (folder / f"yelp_academic_dataset_{kind}.json").open("a") as file:
            file.write('{"user_id": \n')
        with pytest.raises(DataError, match=rf"{kind}\.json, line 3: this is not JSON"):
            read("yelp", folder)

    @pytest.mark.parametrize(("kind", "key"), [("review", "interactions"), ("business", "items")])
    def test_another_folder_names_the_files_looked_for(self, folder, kind, key):
        (folder / f"yelp_academic_dataset_{kind}.json").unlink()
        message = rf"no file yelp_academic_dataset_{kind}\.json or .*data\.{key}"
        with pytest.raises(DataError, match=message):
            read("yelp", folder)


@given(
    texts=st.lists(st.one_of(st.none(), st.text(alphabet="ab\n\u2028é", max_size=5)), max_size=9),
    data=st.data(),
)
def test_texts_of_any_rows_are_those_of_their_lines(tmp_path_factory, texts, data):
    rows = data.draw(
        st.lists(st.sampled_from(range(len(texts))), unique=True).map(sorted)
        if texts
        else st.just([])
    )
    blank = data.draw(st.sampled_from(["", "\n", " \n"]))
    folder = tmp_path_factory.mktemp("yelp")
    lines = [json.dumps({**YELP_REVIEWS[0], "text": text}, ensure_ascii=False) for text in texts]
    (folder / "review.json").write_text("".join(f"{blank}{line}\n" for line in lines), "utf-8")
    (folder / "business.json").write_text(json.dumps(BUSINESS))
    raw = read("yelp", folder)
    assert raw.interactions.height == len(texts)
    found = raw.reviews(pl.Series(rows, dtype=pl.UInt32)).to_list()
    assert found == [" ".join((texts[row] or "").split()) for row in rows]


def test_more_reviews_than_a_chunk_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("hnlmrec.data.readers.reviews._CHUNK", 3)
    lines = [json.dumps({**YELP_REVIEWS[0], "user_id": f"u{n}", "text": n}) for n in range(1, 9)]
    (tmp_path / "review.json").write_text("\n".join(lines))
    (tmp_path / "business.json").write_text(json.dumps(BUSINESS))
    raw = read("yelp", tmp_path)
    assert raw.interactions["user_id"].to_list() == [f"u{n}" for n in range(1, 9)]
    assert raw.reviews(pl.Series([2, 3, 7])).to_list() == ["3", "4", "8"]
