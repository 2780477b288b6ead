"""Untrusted text made plain: one line, of bounded length, without characters of markup."""

from __future__ import annotations

import re
import unicodedata

import polars as pl

from hnlmrec.data.interactions import ItemTexts

# what delimiters, chat templates and special tokens are written with, and what stands in for it
_MARKUP = {"<": "(", ">": ")", "[": "(", "]": ")", "{": "(", "}": ")", "|": "/", "`": "'"}
_OF_LETTERS = str.maketrans(_MARKUP)
_LONGEST = {"title": 80, "brand": 40, "categories": 80, "description": 240}


def plain(text: pl.Expr, longest: int) -> pl.Expr:
    """Neutralise markup and control characters and cut at a word's end.

    Parameters
    ----------
    text
        A string expression.
    longest
        Characters kept; ``...`` is added to what was cut.
    """
    line = text.str.replace_many(_MARKUP).str.replace_all(r"[\s\p{C}]+", " ").str.strip_chars(" ")
    cut = line.str.slice(0, longest).str.replace(r" \S*$", "") + "..."
    return pl.when(line.str.len_chars() > longest).then(cut).otherwise(line)


def plain_words(text: str) -> str:
    """Do to one text what `plain` does to a column, but cut nothing."""
    words = "".join(
        " " if unicodedata.category(letter).startswith("C") else letter
        for letter in text.translate(_OF_LETTERS)
    )
    return " ".join(words.split())


def without_control_tokens(text: str) -> str:
    """Replace what chat templates write their control tokens with; braces of JSON stay."""
    return re.sub(r"[<>|]", lambda found: _MARKUP[found[0]], text)


def plain_items(texts: ItemTexts) -> ItemTexts:
    """Make every field of every item plain; the title is never empty."""
    fields = [plain(pl.col(field), longest) for field, longest in _LONGEST.items()]
    cleaned = ItemTexts(texts.frame.select(fields))
    return ItemTexts(cleaned.frame.with_columns(title=pl.Series(cleaned.titles(), dtype=pl.String)))
