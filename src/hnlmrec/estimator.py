"""`HNLMRec`: the common job in scikit-learn's manners."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl
from rich.console import Console

from hnlmrec.config import RunConfig, merge
from hnlmrec.config.run import demo_models
from hnlmrec.data.interactions import Interactions
from hnlmrec.data.pseudonyms import user_secret
from hnlmrec.disk import write_atomically
from hnlmrec.errors import ConfigError, DataError
from hnlmrec.pipeline import Pipeline
from hnlmrec.recommending import Recommender, allowed_items, known_users
from hnlmrec.recommending.recommend import Seen
from hnlmrec.reporting import Reporter
from hnlmrec.stage_names import evaluate_name, train_name
from hnlmrec.studies.assess import Assessment
from hnlmrec.training import TrainedModel

_PARAMS = ("run", "model", "seed", "config", "quiet")


class HNLMRec:
    """A recommender: fitted on frames of interactions and item texts, it recommends.

    Everything that it does is kept in the run folder, as by the command line: fitted again on the
    same data it is ready at once, and `hnlmrec report RUN` shows what became of it.

    Parameters
    ----------
    run
        Folder of all artefacts.
    model
        Which model of the configuration; by default those of `hnlmrec demo` are there: ``uniform``,
        ``dns``, ``alignment``, ``texts``, ``hnlmrec``, ``noise``.
    seed
        Of the training.
    config
        Changes of the configuration, as a tree of its keys: ``{"training": {"lr": 0.002}}``. Its
        ``models``, where there are, take the place of the demo's.
    quiet
        Print nothing.

    Examples
    --------
    >>> interactions, items = pl.read_csv("interactions.csv"), pl.read_csv("items.csv")
    >>> model = HNLMRec("runs/mine").fit(interactions, items)  # doctest: +SKIP
    >>> model.evaluate()["recall@20"], model.recommend(["user 1"], k=5)  # doctest: +SKIP
    """

    def __init__(
        self,
        run: Path | str = "runs/hnlmrec",
        *,
        model: str = "hnlmrec",
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
        quiet: bool = True,
    ) -> None:
        # as scikit-learn wants it: what is given is kept as it is, and checked by `fit`
        self.run = run
        self.model = model
        self.seed = seed
        self.config = config
        self.quiet = quiet
        self._pipeline: Pipeline | None = None
        self._trained: TrainedModel | None = None

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters as they were given; ``deep`` changes nothing."""
        return {name: getattr(self, name) for name in _PARAMS}

    def set_params(self, **params: Any) -> Self:
        """Change parameters; `fit` takes them up.

        Raises
        ------
        ConfigError
            When there is no such parameter.
        """
        for name, value in params.items():
            if name not in _PARAMS:
                raise ConfigError(
                    f"there is no parameter {name!r}", mend=f"there are {', '.join(_PARAMS)}"
                )
            setattr(self, name, value)
        return self

    def fit(self, interactions: pl.DataFrame, items: pl.DataFrame | None = None) -> Self:
        """Filter, split and train; epochs are chosen on a validation part.

        Parameters
        ----------
        interactions
            Columns ``user_id``, ``item_id``, and where there are, ``rating`` and ``timestamp``
            (seconds). A pandas frame will do.
        items
            Columns ``item_id``, and where there are, ``title``, ``brand``, ``categories``,
            ``description``. Models that read texts are of no use without.

        Raises
        ------
        HnlmrecError
            For whatever the user can mend; it says what, where and how.
        """
        folder = Path(self.run) / "data"
        _keep(_polars(interactions), folder / "interactions.parquet")
        items_file = folder / "items.parquet"
        if items is not None:
            _keep(_polars(items), items_file)
        else:
            items_file.unlink(missing_ok=True)
        data = {"reader": "table", "path": str(folder)}
        if "rating" not in interactions.columns:
            data["min_rating"] = None  # type: ignore[assignment]
        changes = dict(self.config or {})
        # whoever names models means these, and not the demo's changed
        models = changes.setdefault("models", demo_models())
        if self.model not in models:
            raise ConfigError(
                f"there is no model {self.model!r}", mend=f"there are {', '.join(models)}"
            )
        given = {
            "run": str(self.run),
            "seeds": [self.seed],
            "evaluation": {"reference": self.model},
        }
        config = RunConfig.from_dict(merge(merge({"data": data}, changes), given))
        reporter = Reporter(Console(file=io.StringIO()) if self.quiet else Console())
        pipeline = Pipeline(config, reporter, update=True)
        stage = train_name(self.model, self.seed)
        pipeline.run([stage])
        self._pipeline, self._trained = pipeline, TrainedModel.load(pipeline.folder.stage(stage))
        return self

    @property
    def interactions(self) -> Interactions:
        """What it was fitted on: training, validation and test part."""
        return self._fitted()[0].context.interactions

    @property
    def embeddings(self) -> TrainedModel:
        """The trained model; its ``view`` has the embeddings of users and items."""
        return self._fitted()[1]

    def evaluate(self) -> dict[str, float]:
        """Mean metrics over the users of the test part, whole catalogue, such as ``recall@20``."""
        pipeline, _ = self._fitted()
        stage = evaluate_name(self.model, self.seed)
        pipeline.run([stage])
        file = pipeline.folder.stage(stage) / "assessment.json"
        return Assessment.model_validate_json(file.read_bytes()).metrics

    def recommend(
        self,
        users: Sequence[str] | None = None,
        k: int = 20,
        *,
        where: Sequence[str] = (),
        leave_out: Seen = "all",
    ) -> pl.DataFrame:
        """The best items of users.

        Parameters
        ----------
        users
            Their ids; None: all.
        k
            Items a user.
        where
            Conditions on items, as in ``categories~games``; see `hnlmrec.recommending`.
        leave_out
            Which of a user's own items not to recommend: ``all``, ``train``, ``none``.

        Returns
        -------
        DataFrame
            ``user_id``, ``rank``, ``item_id``, ``score``; ids that no user has are left out.
        """
        pipeline, trained = self._fitted()
        context = pipeline.context
        ids = None if users is None else [str(user) for user in users]
        chosen = known_users(context.interactions, ids, user_secret(context.config.privacy))
        items = allowed_items(context.item_texts, where)
        recommender = Recommender(trained.view, context.interactions, items, leave_out)
        return pl.concat(recommender.blocks(chosen.users, k)).drop("item")

    def _fitted(self) -> tuple[Pipeline, TrainedModel]:
        if self._pipeline is None or self._trained is None:
            raise ConfigError("the model is not fitted", mend="call fit first")
        return self._pipeline, self._trained


def _polars(frame: Any) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    try:
        return pl.from_dataframe(frame)
    except Exception as error:  # whatever its library raises
        raise DataError(
            f"a {type(frame).__name__} is no frame that can be read ({error})",
            mend="give a polars or pandas frame",
        ) from None


def _keep(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame, unless the file holds it already: what was made of it is then up to date."""
    content = io.BytesIO()
    frame.write_parquet(content)
    if not (path.is_file() and path.read_bytes() == content.getvalue()):
        write_atomically(path, content.getvalue())
