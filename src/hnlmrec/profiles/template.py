"""Profiles composed from metadata: what is written without a language model.

They are kept to about 60 tokens, because the encoder cuts queries off.
"""

from __future__ import annotations

import polars as pl

from hnlmrec.data.interactions import ItemTexts
from hnlmrec.profiles.history import dominant_categories

_TITLE_CHARACTERS = 80


def item_templates(texts: ItemTexts) -> list[str]:
    """Compose e.g. ``Toy Story (1995): Animation, Children's, Comedy.`` for every item.

    Parameters
    ----------
    texts
        Plain texts, see `hnlmrec.profiles.text.plain_items`.
    """
    title, brand, categories, description = (pl.col(name) for name in texts.frame.columns)
    about = pl.when(categories != "").then(categories).otherwise(description.str.slice(0, 120))
    # an item without a title is called by its brand and categories: do not say them twice
    brand = pl.when((brand != "") & ~title.str.starts_with(brand)).then(" by " + brand)
    about = pl.when((about != "") & ~title.str.ends_with(about)).then(": " + about)
    text = pl.concat_str(title, brand, about, ignore_nulls=True).str.strip_chars_end(". ") + "."
    return texts.frame.select(text.alias("text"))["text"].to_list()


def user_templates(trained: pl.DataFrame, n_users: int, history: int) -> list[str]:
    """Compose e.g. ``Likes Drama, Comedy. Enjoyed Fargo (1996); Heat (1995).`` for every user.

    The categories are the user's commonest, the commonest first.

    Parameters
    ----------
    trained
        The training items of every user, see `hnlmrec.profiles.history.training_items`.
    n_users
        Number of users.
    history
        Titles named at most.
    """
    users = pl.DataFrame({"user": pl.int_range(n_users, dtype=pl.Int32, eager=True)})
    likes = pl.when(pl.col("categories").is_not_null()).then("Likes " + pl.col("categories") + ".")
    enjoyed = pl.when(pl.col("titles").is_not_null()).then("Enjoyed " + pl.col("titles") + ".")
    text = pl.concat_str(likes, enjoyed, separator=" ", ignore_nulls=True)
    return (
        users.join(dominant_categories(trained), on="user", how="left", maintain_order="left")
        .join(_some_titles(trained, history), on="user", how="left", maintain_order="left")
        .select(text=pl.when(text != "").then(text).otherwise(pl.lit("Nothing is known.")))["text"]
        .to_list()
    )


def _some_titles(trained: pl.DataFrame, history: int) -> pl.DataFrame:
    """The first titles of each user that fit together, at least one, as one string."""
    title = pl.col("title").head(history)
    fits = title.str.len_chars().cum_sum() - title.str.len_chars() < _TITLE_CHARACTERS
    return trained.group_by("user", maintain_order=True).agg(
        titles=title.filter(fits).str.join("; ")
    )
