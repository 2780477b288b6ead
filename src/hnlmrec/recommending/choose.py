"""Which users to recommend to, and which items may be recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hnlmrec.data.interactions import TEXT_FIELDS, Interactions, ItemTexts
from hnlmrec.data.pseudonyms import hashed
from hnlmrec.errors import ConfigError, DataError

Indices = npt.NDArray[np.int64]
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Chosen:
    """Users by index, and the ids that no user has.

    Parameters
    ----------
    users
        Indices, int64 ``[n]``, in the order asked for.
    unknown
        Ids as they were given.
    """

    users: Indices
    unknown: list[str]

    def lines(self) -> list[str]:
        """What to say of the unknown ones."""
        if not self.unknown:
            return []
        some = ", ".join(self.unknown[:_SHOWN])
        more = ", ..." if len(self.unknown) > _SHOWN else ""
        return [
            f"{len(self.unknown):,} ids are of no user of this run, or of one whom its filters "
            f"dropped, and get nothing: {some}{more}"
        ]


def read_ids(path: Path) -> list[str]:
    """Ids in a file: a line each, or the column ``user_id`` of a CSV or Parquet file.

    Raises
    ------
    DataError
        When it cannot be read, or has no such column.
    """
    if path.suffix not in (".csv", ".parquet"):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"the users cannot be read ({error})", where=str(path)) from None
        return [line.strip() for line in lines if line.strip()]
    try:
        if path.suffix == ".csv":
            frame = pl.read_csv(path, columns=["user_id"], infer_schema=False)
        else:
            frame = pl.read_parquet(path, columns=["user_id"])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"the users cannot be read ({str(error).splitlines()[0]})",
            where=str(path),
            mend="give it a column user_id, or one id a line in a .txt file",
        ) from None
    ids: list[str] = frame["user_id"].drop_nulls().cast(pl.String).to_list()
    return ids


def known_users(
    interactions: Interactions, ids: Sequence[str] | None, secret: bytes | None = None
) -> Chosen:
    """Look users up by their own ids, each once.

    Parameters
    ----------
    interactions
        Of the run.
    ids
        None: all users.
    secret
        Of a run whose user ids are hashed: hashes the given ones.

    Raises
    ------
    DataError
        When there is no user of any of the ids.
    """
    if ids is None:
        return Chosen(np.arange(interactions.n_users), [])
    asked = pl.Series("given", list(ids), dtype=pl.String).unique(maintain_order=True)
    keys = asked if secret is None else hashed(asked, secret)
    table = pl.DataFrame({"given": asked, "user_id": keys}).join(
        pl.DataFrame({"user_id": interactions.user_ids}).with_row_index("user"),
        on="user_id",
        how="left",
        maintain_order="left",
    )
    found = table.filter(pl.col("user").is_not_null())
    if found.is_empty():
        raise DataError(
            f"none of the {len(asked):,} ids is of a user of this run "
            f"(first: {', '.join(asked.head(_SHOWN))})",
            mend="give ids as the data has them; users whom the filters dropped have no model",
        )
    unknown = table.filter(pl.col("user").is_null())["given"].to_list()
    return Chosen(found["user"].to_numpy().astype(np.int64), unknown)


def allowed_items(texts: ItemTexts, conditions: Sequence[str]) -> Indices | None:
    """Items that meet all conditions, or None where there is none to meet.

    Parameters
    ----------
    texts
        Title, brand, categories and description of the items.
    conditions
        ``FIELD=TEXT``: is that text; ``FIELD~TEXT``: holds it, in whatever case.

    Returns
    -------
    ndarray | None
        Indices, int64, ascending.

    Raises
    ------
    ConfigError
        When a condition is none, or nothing meets all.
    """
    if not conditions:
        return None
    meets = pl.lit(True)
    for condition in conditions:
        sign = min((s for s in "=~" if s in condition), key=condition.find, default="")
        field, _, text = condition.partition(sign or "=")
        if not sign or field not in TEXT_FIELDS:
            raise ConfigError(
                f"a condition is FIELD=TEXT or FIELD~TEXT with one of {', '.join(TEXT_FIELDS)}, "
                f"not {condition!r}",
                where="--where",
                mend="as in --where 'brand=LEGO' --where 'categories~games'",
            )
        column = pl.col(field)
        if sign == "=":
            meets = meets & (column == text)
        else:
            lower = column.str.to_lowercase()
            meets = meets & lower.str.contains(text.lower(), literal=True)
    items = texts.frame.with_row_index("item").filter(meets)["item"].to_numpy().astype(np.int64)
    if not len(items):
        raise ConfigError(
            f"no item meets {' and '.join(conditions)}",
            where="--where",
            mend="loosen the conditions; = wants the whole text, ~ a part",
        )
    return items
