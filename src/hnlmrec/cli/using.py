"""Commands that use a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from hnlmrec.cli.common import Config, RunOption, app, pipeline_of
from hnlmrec.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from hnlmrec.pipeline import Pipeline
    from hnlmrec.training import TrainedModel

_PANEL = "Use of a trained model"

TrainedOption = Annotated[
    str | None, typer.Option("--model", help="Which model of the config, where it has several.")
]
TrainedSeedOption = Annotated[
    int | None, typer.Option("--seed", help="Of which seed; by default the first.")
]


@app.command(rich_help_panel=_PANEL)
def recommend(
    config: Config,
    folder: RunOption = None,
    model: TrainedOption = None,
    seed: TrainedSeedOption = None,
    user: Annotated[list[str] | None, typer.Option(help="A user's id. Repeat for several.")] = None,
    users: Annotated[
        Path | None,
        typer.Option(help="File of ids: a line each, or CSV or Parquet with the column user_id."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Items a user.")] = 20,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only items such as 'brand=LEGO' (is) or 'categories~games' (holds); of title, "
            "brand, categories, description. Repeat for several, all of which must hold."
        ),
    ] = None,
    leave_out: Annotated[
        Literal["all", "train", "none"],
        typer.Option(help="Which of the user's own items not to recommend."),
    ] = "all",
    output: Annotated[
        Path | None,
        typer.Option(help="A .csv or .jsonl file, or a folder for Parquet; without it, a table."),
    ] = None,
) -> None:
    """Recommend items to users: to those named, or with --output to all."""
    from hnlmrec.data.pseudonyms import user_secret
    from hnlmrec.recommending import Recommender, allowed_items, known_users
    from hnlmrec.recommending.choose import read_ids
    from hnlmrec.recommending.files import check_output, write_frames

    if output is not None:
        check_output(output)
    pipeline = pipeline_of(config, folder, None, update=False)
    view = _trained(pipeline, *_named(pipeline, model, seed)).view
    context = pipeline.context
    ids = [*(user or []), *(read_ids(users) if users else [])]
    if not ids and output is None:
        raise ConfigError(
            "nobody is named to recommend to", mend="name users by --user or --users, or --output"
        )
    secret = user_secret(context.config.privacy)
    chosen = known_users(context.interactions, ids or None, secret)
    items = allowed_items(context.item_texts, where or [])
    chunk = context.config.evaluation.chunk_users
    blocks = Recommender(view, context.interactions, items, leave_out, chunk).blocks(
        chosen.users, k
    )
    for line in chosen.lines():
        pipeline.reporter.line(line)
    if output is not None:
        rows = write_frames((block.drop("item") for block in blocks), output)
        pipeline.reporter.line(f"{rows:,} rows of {len(chosen.users):,} users: {output}")
        return
    titles = context.item_texts.titles()
    for block in blocks:
        for (name,), rows_of_user in block.group_by("user_id", maintain_order=True):
            pipeline.reporter.console.print(_table(str(name), rows_of_user, titles))


@app.command(rich_help_panel=_PANEL)
def export(
    config: Config,
    what: Annotated[
        Literal["embeddings", "index", "negatives", "triplets"],
        typer.Argument(
            help="embeddings: of users and items, with ids and a model card; index: the same "
            "with a FAISS index of the items and what it finds; negatives: the "
            "hard-negative item of each training pair, with its similarity and scores; triplets: "
            "the same as texts, for sentence-transformers."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(help="A folder; for negatives and triplets a .csv or .jsonl file, too."),
    ],
    folder: RunOption = None,
    model: TrainedOption = None,
    seed: TrainedSeedOption = None,
) -> None:
    """Write what a trained model knows for use elsewhere."""
    from hnlmrec.recommending.embeddings import check_folder, export_embeddings
    from hnlmrec.recommending.files import check_output, write_frames

    tensors = what in ("embeddings", "index")
    (check_folder if tensors else check_output)(output)
    pipeline = pipeline_of(config, folder, None, update=False)
    name, number = _named(pipeline, model, seed)
    trained = _trained(pipeline, name, number)
    context = pipeline.context
    if tensors:
        export_embeddings(
            trained.view, context.interactions, context.config, pipeline.folder, name, number,
            output, index=what == "index",
        )  # fmt: skip
        pipeline.reporter.line(f"wrote {output}")
        return
    from hnlmrec.recommending.negatives import hard_negatives, with_ids, with_texts

    chosen = context.config.models[name]
    language = context.language_artefacts(chosen)
    blocks = hard_negatives(trained, chosen, context.interactions, language, number)
    if what == "negatives":
        frames = (with_ids(block, context.interactions) for block in blocks)
    else:
        from hnlmrec.profiles import Profiles
        from hnlmrec.stage_names import PROFILE

        profiles = Profiles.load(pipeline.folder.stage(PROFILE))
        frames = (with_texts(block, profiles.users, profiles.items) for block in blocks)
    rows = write_frames(frames, output)
    pipeline.reporter.line(f"{rows:,} rows: {output}")


def _named(pipeline: Pipeline, model: str | None, seed: int | None) -> tuple[str, int]:
    """The model and seed that are meant."""
    models = list(pipeline.config.models)
    if model is None and len(models) > 1:
        # a guess could be a control
        raise ConfigError(
            f"the run has {len(models)} models", where="--model", mend=f"one of {', '.join(models)}"
        )
    return model or models[0], pipeline.config.seeds[0] if seed is None else seed


def _trained(pipeline: Pipeline, model: str, seed: int) -> TrainedModel:
    """A trained model; it is trained first if need be."""
    from hnlmrec.stage_names import train_name
    from hnlmrec.training import TrainedModel

    stage = train_name(model, seed)
    pipeline.run([stage])
    return TrainedModel.load(pipeline.folder.stage(stage))


def _table(user: str, rows: pl.DataFrame, titles: list[str]) -> Table:
    from rich.markup import escape

    table = Table(title=f"user {escape(user)}", title_justify="left")
    for column, justify in (("rank", "right"), ("item", "left"), ("score", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for row in rows.iter_rows(named=True):
        cells = (str(row["rank"]), escape(row["item_id"]), f"{row['score']:.3f}")
        table.add_row(*cells, escape(titles[row["item"]]))
    return table
