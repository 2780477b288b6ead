"""The first stage: from a dataset's files to `Interactions`, `ItemTexts` and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field

from hnlmrec.artifacts import reading
from hnlmrec.config import DataConfig
from hnlmrec.data.embedded import locate
from hnlmrec.data.filtering import Step, filter_interactions, index_ids
from hnlmrec.data.interactions import SPLITS, TEXT_FIELDS, Interactions, ItemTexts, Split
from hnlmrec.data.pseudonyms import hashed
from hnlmrec.data.readers import READERS, RawData, ReviewTexts
from hnlmrec.data.readers.rejected import FILE as REJECTED
from hnlmrec.data.splitting import DROPPED, TRAIN, split, thinned
from hnlmrec.errors import DataError


class PrepareReport(BaseModel):
    """What the preparation kept, dropped and noticed.

    Parameters
    ----------
    steps
        ``read``, each filter and, where it dropped anything, the split.
    users, items
        Numbers of users and items.
    interactions
        Number of interactions of each part.
    density
        Share of all pairs of user and item that are interactions.
    items_without_text
        Items whose text fields are all empty.
    reviews
        Training interactions that have a review.
    notes
        What the user should know, as sentences without a full stop.
    rejected
        Rows that could not be used, by file and reason. What is empty is not written: the content
        of the stage is then what it was before there was such a count.
    unused_texts
        Texts of items that no interaction has. Not written, for the same reason.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: list[Step]
    users: int
    items: int
    interactions: dict[Split, int]
    density: float
    items_without_text: int
    reviews: int
    notes: list[str]
    rejected: dict[str, dict[str, int]] = {}
    unused_texts: int = Field(0, exclude=True)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the ``report.json`` that `prepare` wrote."""
        with reading("the report", folder, "hnlmrec prepare"):
            return cls.model_validate_json((folder / "report.json").read_bytes())

    def refuse_rejected(self, folder: Path) -> None:
        """Raise a DataError when rows were left out of what was prepared in ``folder``."""
        if n_rows := sum(sum(reasons.values()) for reasons in self.rejected.values()):
            raise DataError(
                f"{n_rows:,} rows were left out, and data.strict accepts none",
                where=str(folder / REJECTED),
                mend="correct the files, or set data.strict to false",
            )

    def lines(self) -> list[str]:
        """Say it in lines to print."""
        lines = []
        for step in self.steps:
            line = (
                f"{step.name}: {step.interactions:,} interactions, {step.users:,} users, "
                f"{step.items:,} items"
            )
            if step.dropped_interactions:
                line += (
                    f" (dropped {step.dropped_interactions:,}, {step.dropped_users:,}, "
                    f"{step.dropped_items:,})"
                )
            lines.append(line)
        parts = ", ".join(f"{split} {count:,}" for split, count in self.interactions.items())
        lines.append(f"split: {parts}; density {self.density:.4%}")
        if self.reviews:
            lines.append(f"training interactions with a review: {self.reviews:,}")
        if self.items_without_text:
            lines.append(f"note: items without a text: {self.items_without_text:,}")
        if self.unused_texts:
            lines.append(f"note: texts of items that no interaction has: {self.unused_texts:,}")
        lines += [f"note: {note}" for note in self.notes]
        for file, reasons in self.rejected.items():
            why = "; ".join(f"{reason}: {count:,}" for reason, count in reasons.items())
            lines.append(
                f"note: rows of {file} left out: {sum(reasons.values()):,} ({why}); see {REJECTED}"
            )
        return lines


def prepare(config: DataConfig, folder: Path, secret: bytes | None = None) -> PrepareReport:
    """Read, filter, split and index a dataset, and write it into ``folder``.

    Users and items are numbered in the order of their first kept interaction in the file.

    Parameters
    ----------
    config
        Where the data are and what is kept.
    folder
        An empty folder. Receives what `Interactions.save` and `ItemTexts.save` write,
        ``report.json`` and, when the data have reviews, ``reviews.parquet`` (columns ``user``,
        ``item``, ``review``), which holds those of training pairs only, and ``rejected.jsonl``,
        when rows were left out, with a sample of them.
    secret
        Key of the hashes that users' ids are replaced by; None keeps the ids.

    Raises
    ------
    DataError
        When the data cannot be read or nothing of them is left.
    """
    raw = READERS[config.reader](config, locate(config.path))
    odd_notes, unused_texts = _notes_on_oddities(raw), _count_unused(raw)
    kept, steps, filter_notes = filter_interactions(raw, config)
    codes = split(kept, raw.clock, config.split)
    kept = kept.drop("timestamp").with_columns(split=codes)
    if (codes == DROPPED).any():
        kept = kept.filter(pl.col("split") != DROPPED)
        steps.append(Step.of("users with training interactions", kept, steps[-1]))

    user_ids, users = index_ids(kept["user_id"])
    if secret is not None:
        # after everything that could depend on them: the prepared data are the same otherwise
        user_ids = hashed(user_ids, secret)
    item_ids, items = index_ids(kept["item_id"])
    kept = kept.with_columns(user=users, item=items)
    if config.split.train_share < 1:
        # after the catalogue is known, so that every share ranks the same items
        codes = thinned(kept["split"].to_numpy(), users, config.split)
        kept = kept.filter(pl.Series(codes != DROPPED))
        steps.append(Step.of(f"{config.split.train_share:.0%} of training", kept, steps[-1]))
    interactions = Interactions.from_pairs(
        user_ids, item_ids, *(kept[name].to_numpy() for name in ("user", "item", "split"))
    )
    texts = _texts_of(item_ids, raw.items)
    reviews = _training_reviews(kept, raw.reviews)

    counts = {part: interactions.part(part).nnz for part in SPLITS}
    report = PrepareReport(
        steps=steps,
        users=interactions.n_users,
        items=interactions.n_items,
        interactions=counts,
        density=kept.height / (interactions.n_users * interactions.n_items),
        items_without_text=_count_empty(texts),
        reviews=reviews.height,
        notes=[*raw.notes, *odd_notes, *filter_notes, *_notes_on(interactions, counts)],
        rejected=raw.rejected.counts,
        unused_texts=unused_texts,
    )
    interactions.save(folder)
    texts.save(folder)
    if reviews.height:
        reviews.write_parquet(folder / "reviews.parquet")
    # what rejected rows hold may be ids of users
    raw.rejected.write(folder, quote=secret is None)
    text = report.model_dump_json(indent=2, exclude_defaults=True)
    (folder / "report.json").write_text(text, encoding="utf-8")
    return report


def load_reviews(folder: Path) -> pl.DataFrame | None:
    """Read the training reviews that `prepare` wrote; None when the data have none.

    Returns
    -------
    reviews
        Columns ``user`` and ``item`` (int32 indices) and ``review``, sorted by user, then item.
    """
    path = folder / "reviews.parquet"
    if not path.exists():
        return None
    with reading("the reviews", path, "hnlmrec prepare"):
        return pl.read_parquet(path)


def _texts_of(item_ids: pl.Series, texts: pl.DataFrame) -> ItemTexts:
    """Bring texts into the order of the item index; ``""`` for items without."""
    catalogue = pl.DataFrame({"item_id": item_ids.cast(pl.String)})
    joined = catalogue.join(texts, on="item_id", how="left", maintain_order="left")
    return ItemTexts(joined.select(pl.col(TEXT_FIELDS).fill_null("")))


def _count_empty(texts: ItemTexts) -> int:
    return texts.frame.filter(pl.all_horizontal(pl.col(TEXT_FIELDS) == "")).height


def _training_reviews(frame: pl.DataFrame, texts: ReviewTexts | None) -> pl.DataFrame:
    if texts is None:
        return pl.DataFrame()
    trained = frame.filter(pl.col("split") == TRAIN)
    reviewed = trained.select("user", "item", review=texts(trained["row"]))
    return reviewed.filter(pl.col("review") != "").sort("user", "item")


def _count_unused(raw: RawData) -> int:
    interacted = raw.interactions["item_id"].unique().cast(pl.String)
    return raw.items.height - int(raw.items["item_id"].is_in(interacted.implode()).sum())


def _notes_on_oddities(raw: RawData) -> list[str]:
    """What is kept as it is, and may be a mistake of who wrote the files."""
    notes = []
    for column in ("user_id", "item_id"):
        ids = raw.interactions[column].unique().cast(pl.String)
        alike = ids.str.strip_chars().str.normalize("NFKC").str.to_lowercase().n_unique()
        if alike < len(ids):
            notes.append(
                f"values of {column} that differ from another only by case, spaces around or "
                f"Unicode form, and were kept apart: {len(ids) - alike:,}"
            )
    if raw.clock == "seconds":
        early = int((raw.interactions["timestamp"] < 0).sum())
        if early:
            notes.append(f"timestamps below 0, which are times before 1970: {early:,}")
    return notes


def _notes_on(interactions: Interactions, counts: dict[Split, int]) -> list[str]:
    notes = [f"the {part} part is empty" for part, count in counts.items() if count == 0]
    trained = len(np.unique(interactions.train.indices))
    if untrained := interactions.n_items - trained:
        notes.append(f"items without a training interaction: {untrained:,}")
    return notes
