"""Sections on data: where they come from, what is kept, how they are split."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from hnlmrec.config.section import Section

Share = Annotated[float, Field(gt=0, lt=1)]
# torch takes numbers of 64 bits with their sign, numpy none below 0
Seed = Annotated[int, Field(ge=0, lt=1 << 63)]

# stores whose addresses may hold who asks
_OF_SERVERS = ("http", "https", "ftp", "s3", "gs")


class SplitConfig(Section):
    """How interactions are divided into training, validation and test."""

    method: Literal["ratio", "leave_one_out", "time"] = Field(
        "ratio",
        description="ratio: random shares of each user's items; leave_one_out: a user's last item "
        "to test and last but one to validation; time: the newest interactions of all users",
    )
    valid: Share = Field(0.1, description="share of interactions for validation (ratio, time)")
    test: Share = Field(0.1, description="share of interactions for test (ratio, time)")
    seed: Seed = Field(0, description="seed of the random split, the same for every model")
    train_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of each user's training interactions that is kept, at least one, at "
        "random; validation and test stay as they are",
    )

    @model_validator(mode="after")
    def _shares_leave_training(self) -> Self:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid + test is {self.valid + self.test:g} and must be below 1")
        return self


class ExpectedConfig(Section):
    """What a preparation should find, to be printed beside what it found."""

    users: int | None = Field(None, ge=1, description="number of users")
    items: int | None = Field(None, ge=1, description="number of items")
    interactions: int | None = Field(None, ge=1, description="number of interactions")
    source: str = Field("data.expected", description="who says so")


class DataConfig(Section):
    """Where interactions and item texts come from, and what is kept of them."""

    reader: Literal["table", "recbole", "movielens", "amazon", "yelp"] = Field(
        "recbole",
        description="table: CSV/TSV/Parquet and JSONL item text; recbole: .inter and .item files; "
        "movielens: ratings.csv and movies.csv; amazon: raw reviews and metadata of 2014, 2018 or "
        "2023, JSON lines; yelp: reviews and businesses of the Yelp Open Dataset, JSON lines",
    )
    path: str = Field(
        "embedded:ml-100k",
        description="the folder that holds the files, or its address in a store that fsspec knows, "
        "as s3://bucket/prefix (credentials come from the environment), or embedded:ml-100k (from "
        "the recbole wheel)",
    )
    interactions: str | None = Field(
        None,
        description="file of interactions in path; by default the reader finds it (table: also a "
        "folder of parts, or a pattern such as part-*.parquet)",
    )
    items: str | None = Field(
        None, description="file of item texts in path, or parts of it, likewise"
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="names of columns, as user|item|rating|timestamp: name in the file (table)",
    )
    min_rating: float | None = Field(4.0, description="ratings below are dropped; null keeps all")
    since: date | None = Field(None, description="first day kept (UTC)")
    until: date | None = Field(None, description="last day kept (UTC), inclusive")
    core: int = Field(5, ge=1, description="k of the iterative k-core of users and items")
    split: SplitConfig = SplitConfig()
    strict: bool = Field(
        False,
        description="stop at the first row that cannot be used; otherwise such rows are left out, "
        "counted, and a sample of them written to rejected.jsonl",
    )
    expected: ExpectedConfig | None = Field(
        None,
        description="users, items, interactions and source: numbers to print beside those that are "
        "found, of a paper for instance; decides nothing",
    )

    @field_validator("path")
    @classmethod
    def _no_secret_in_the_address(cls, path: str) -> str:
        scheme, separator, rest = path.partition("://")
        if not separator:
            return path
        # abfs://container@account is no password, and what follows @ in hf:// is a revision
        login = rest.split("/")[0].rpartition("@")[0]
        if ":" in login or "?" in rest or (login and scheme in _OF_SERVERS):
            raise ValueError(
                "an address with a password, key or question mark would be saved with the run; "
                "credentials are taken from the environment, or from where the store's own tools "
                "keep them"
            )
        return path
