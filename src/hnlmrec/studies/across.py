"""One table of models of several runs of the same data: variants of the language stages, say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hnlmrec.artifacts import CHECKED_BYTES, RunFolder
from hnlmrec.config import ModelConfig, RunConfig
from hnlmrec.errors import ArtifactError, ConfigError
from hnlmrec.stage_names import PREPARE, evaluate_name, train_name
from hnlmrec.studies.compare import Entry


def entries_of(runs: list[str]) -> tuple[dict[str, Entry], tuple[int, ...]]:
    """The finished models of runs, by the names that they shall have in a table, and the cutoffs.

    Parameters
    ----------
    runs
        Each the folder of a run, for all its models, or ``FOLDER:MODEL,MODEL`` for some of them.

    Returns
    -------
    tuple[dict[str, Entry], tuple[int, ...]]
        The models by their names, ``MODEL@FOLDER`` where several runs have one of that name; and
        the cutoffs that all of them were measured at.

    Raises
    ------
    ConfigError
        When a run has no such model, or two rows would have the same name.
    ArtifactError
        When a model is not evaluated as it is configured, or the runs are not of the same data.
    """
    entries: list[Entry] = []
    cutoffs = set()
    for text in runs:
        config, some = _of_run(text)
        entries += some
        cutoffs.add(config.evaluation.cutoffs)
    if not entries:
        raise ConfigError("no run is given", mend="name folders of runs")
    _check_same_data(entries)
    if len(cutoffs) > 1:
        raise ConfigError(
            f"the runs are evaluated at different cutoffs: {sorted(cutoffs)}",
            mend="run `hnlmrec evaluate` with the same evaluation.cutoffs",
        )
    count = Counter(entry.model for entry in entries)
    found: dict[str, Entry] = {}
    for entry in entries:
        alone = count[entry.model] == 1
        name = entry.model if alone else f"{entry.model}@{entry.run.path.name}"
        if name in found:
            raise ConfigError(
                f"two rows would be called {name}",
                mend="name each model of a run once, and runs by folders of different names",
            )
        found[name] = entry
    return found, cutoffs.pop()


def _of_run(text: str) -> tuple[RunConfig, list[Entry]]:
    """The configuration of a run, and its chosen models."""
    folder, models = _split(text)
    file = folder / "config.yaml"
    if not file.is_file():
        raise ConfigError(
            "there is no run here", where=str(folder), mend="name folders that hold a config.yaml"
        )
    config = RunConfig.from_yaml(file)
    run = RunFolder(folder)
    entries = []
    for model in models or list(config.models):
        if model not in config.models:
            raise ConfigError(
                f"the run has no model {model!r}",
                where=str(folder),
                mend=f"its models are {', '.join(config.models)}",
            )
        for seed in config.seeds:
            if not _is_evaluated(run, config.models[model], model, seed):
                raise ArtifactError(
                    f"model {model} is not evaluated with seed {seed}, or was under other settings",
                    where=str(folder),
                    mend=f"run `hnlmrec evaluate {folder} --model {model}`",
                )
            _check_whole(run, evaluate_name(model, seed))
        entries.append(Entry(run, model, config.seeds))
    return config, entries


def _check_whole(run: RunFolder, stage: str) -> None:
    if damaged := run.damaged(stage, below=CHECKED_BYTES):
        raise ArtifactError(
            f"stage {stage} is damaged since it was written: {', '.join(damaged)}",
            where=str(run.path),
            mend=f"run `hnlmrec evaluate {run.path}`, which does it again",
        )


def _is_evaluated(run: RunFolder, config: ModelConfig, model: str, seed: int) -> bool:
    """Whether what stands in the folder is of a model as it is configured now."""
    name = train_name(model, seed)
    trained, evaluated = run.record(name), run.record(evaluate_name(model, seed))
    return (
        trained is not None
        and evaluated is not None
        and trained.section["model"] == config.model_dump(mode="json")
        and evaluated.inputs[name] == trained.key
    )


def _split(text: str) -> tuple[Path, list[str]]:
    """Folder and models of ``FOLDER:MODEL,MODEL``; a folder's own name may hold colons."""
    folder, colon, models = text.rpartition(":")
    if not colon or Path(text).is_dir():
        return Path(text), []
    return Path(folder), [model for model in models.split(",") if model]


def _check_same_data(entries: list[Entry]) -> None:
    first = entries[0].run
    for entry in entries:
        if entry.run.content(PREPARE) != first.content(PREPARE):
            raise ArtifactError(
                f"its data is not that of {first.path}, so that their models cannot be compared",
                where=str(entry.run.path),
                mend="compare runs of the same data, filters and split",
            )
