"""`Profiles`: the written profiles of all users and items."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import polars as pl

from hnlmrec.artifacts import reading

COLUMNS = {
    "index": pl.Int32,
    "summarization": pl.String,
    "reasoning": pl.String,
    "source": pl.String,
    "reason": pl.String,
}


@dataclass(frozen=True)
class Profiles:
    """Summarizations by user and by item index, and who wrote them.

    Parameters
    ----------
    users, items
        One text a user and an item; position is the index.
    user_sources, item_sources
        ``llm``, ``template``, or ``fallback``: a template because the answer was rejected.
    """

    users: list[str]
    items: list[str]
    user_sources: list[str]
    item_sources: list[str]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `hnlmrec.profiles.generate_profiles` wrote.

        Raises
        ------
        ArtifactError
            When the files are missing or damaged.
        """
        with reading("the profiles", folder, "hnlmrec profile"):
            users, items = (
                pl.read_parquet(folder / f"{kind}.parquet", columns=list(COLUMNS))
                for kind in ("users", "items")
            )
        return cls(
            users["summarization"].to_list(),
            items["summarization"].to_list(),
            users["source"].to_list(),
            items["source"].to_list(),
        )
